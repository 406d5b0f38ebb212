// Copyright (c) 2026 opsrunner contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

import java.util.Collections;
import java.util.List;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** OpenSearch from its jars: Server HOME PORT TRANSPORT-PORT, until its standard input ends. */
public class Server {
    static class Single extends Node {
        Single(Environment environment) {
            super(environment, List.of(Netty4Plugin.class), false);
        }
    }

    public static void main(String[] words) throws Exception {
        String home = words[0];
        Settings settings = Settings.builder()
            .put("path.home", home)
            .put("path.repo", home + "/repositories")
            .put("cluster.name", "lab")
            .put("node.name", "lab")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", words[1])
            .put("transport.port", words[2])
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(settings, Collections.emptyMap(), null, () -> "lab");
        Node node = new Single(environment);
        node.start();
        while (System.in.read() >= 0) {
        }
        node.close();
        System.exit(0);
    }
}
