#!/usr/bin/python
# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe many things at once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health_probe
short_description: Probe HTTP, TCP, TLS, DNS, ports, processes, units, files and commands, all at once
version_added: 0.1.0
description:
  - Makes all probes of a host in one call, concurrently and under one deadline. Each yields a finding C(<type>.<name>).
  - A probe that could not be made is V(unknown) and says what it would need; a failed one says how far it came.
author:
  - opsrunner maintainers (@opsrunner)
extends_documentation_fragment:
  - opsrunner.runbook.check
options:
  deadline:
    description:
      - Time for all probes together, such as V(30) or V(1m).
      - A probe that had all its own time by then is V(critical); one that was cut short is V(unknown).
    type: str
    default: "30"
  concurrency:
    description: Probes under way at once; fewer where the limit of open files is low.
    type: int
    default: 250
  jmespath:
    description: The controller's jmespath package. Filled in by the action plugin where a probe has O(probes[].json).
    type: str
  probes:
    description: What is probed.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the probe, unique among those of its type. It is part of the finding's id.
        type: str
        required: true
      type:
        description: What kind of probe it is. V(http) is for https as well.
        type: str
        required: true
        choices: [http, tcp, tls, dns, port, process, unit, file, command]
      remedy:
        description: Runbook or section that is shown when the probe is not V(ok).
        type: str
      warning:
        description:
          - Range whose breach is a warning, in the syntax of the monitoring plugins.
          - It is held against milliseconds (V(http), V(tcp), V(dns)), days left (V(tls), default V(30:)), the number of processes,
            the number of units in the wanted state, and what O(probes[].measure) says of a file.
        type: str
      critical:
        description: As O(probes[].warning), critical. The default is V(7:) for V(tls) and V(1:) for V(process).
        type: str
      timeout:
        description: Time for one attempt at one target. The default is V(5), and V(10) for V(unit) and V(command).
        type: str
      retries:
        description: Further attempts while the outcome is critical or unknown. The default is V(0).
        type: int
      retry_delay:
        description: Time between attempts. The default is V(1).
        type: str
      url:
        description: URL of http or https; a user name and password in it are sent as basic authentication.
        type: str
      urls:
        description: As O(probes[].url), several - the first that answers decides, those before it are told in the evidence.
        type: list
        elements: str
      method:
        description: HTTP method. The default is V(GET).
        type: str
      headers:
        description: Headers of the request. Those with credentials never appear in results.
        type: dict
      body:
        description: Body of the request; what is no text is sent as JSON.
        type: raw
      username:
        description: User name for basic authentication.
        type: str
      password:
        description: Password for basic authentication.
        type: str
      status:
        description: Statuses that are right, such as V(200), V(2xx), V(200-399). The default is V(200-299).
        type: list
        elements: str
      contains:
        description: Texts that the body must hold.
        type: list
        elements: str
      regex:
        description: Regular expression that the body must match somewhere.
        type: str
      not_regex:
        description: Regular expression that the body must not match.
        type: str
      json:
        description:
          - What must hold of the JSON body. Without O(probes[].json[].equals), O(probes[].json[].one_of), O(probes[].json[].regex) or
            a threshold the expression must be neither null nor false.
          - An expression with a threshold yields a finding of its own, C(http.<name>.<name of the expression>).
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the value; the expression without one.
            type: str
          expression:
            description: JMESPath expression.
            type: str
            required: true
          equals:
            description: The value that is wanted, compared as JSON - V(1) is neither true nor a text.
            type: raw
          one_of:
            description: Values of which one is wanted.
            type: list
            elements: raw
          regex:
            description: Regular expression that the value must match.
            type: str
          warning:
            description: Range whose breach is a warning.
            type: str
          critical:
            description: Range whose breach is critical.
            type: str
          unit:
            description: Unit of the value.
            type: str
            choices: ["", "%", B, B/s, ms, s, d, 1/s]
      follow_redirects:
        description:
          - Whether redirects are followed; else a redirect is an answer like any other. The default is V(false).
          - Another scheme, host or port gets none of the headers, the body and the credentials.
        type: bool
      max_redirects:
        description: Redirects that are followed at most. The default is V(5).
        type: int
      host_header:
        description: Host header, where it is not the URL's.
        type: str
      max_body:
        description: Bytes of the body that are read, and unpacked, at most. The default is V(1M).
        type: str
      certificate:
        description: Whether a probe of V(https) judges how long the certificates on its way are still good. The default is V(true).
        type: bool
      certificate_warning:
        description: Range of days that the first of them to end must be good for, else the probe is V(warning). The default is V(30:).
        type: str
      certificate_critical:
        description: The same for V(critical). The default is V(7:).
        type: str
      address:
        description: Host and port, such as V(db1:5432) or V([2001:db8::1]:443). The port of a V(tls) probe is 443 unless given.
        type: str
      addresses:
        description: As O(probes[].address), several - the first that answers decides, those before it are told in the evidence.
        type: list
        elements: str
      send:
        description: What is sent after connecting.
        type: str
      expect:
        description: Regular expression that the answer must match somewhere.
        type: str
      tls:
        description: Whether a V(tcp) probe speaks TLS. The default is V(false).
        type: bool
      server_name:
        description: Name for SNI and verification, where it is not the host's.
        type: str
      ca_file:
        description: File with the certificates to trust, on the host that probes, instead of the system's.
        type: str
      client_cert:
        description: File with a client certificate, on the host that probes.
        type: str
      client_key:
        description: File with its key, unencrypted; not needed when it is in O(probes[].client_cert).
        type: str
      verify:
        description: Whether certificates are verified. The default is V(true).
        type: bool
      names:
        description: Names that a certificate must cover.
        type: list
        elements: str
      query:
        description: Name that is looked up.
        type: str
      record:
        description: Type of record. The default is V(A).
        type: str
        choices: [A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT]
      expected:
        description: Values that must be among those found. MX is written V(10 mail.example.org), SRV V(0 5 5060 sip.example.org).
        type: list
        elements: str
      resolver:
        description: IP address of the name server to ask, with a port where it is not 53; else the system's resolver is asked.
        type: str
      port:
        description: Local port.
        type: int
      protocol:
        description: Protocol of O(probes[].port). The default is V(tcp).
        type: str
        choices: [tcp, udp]
      process:
        description:
          - For V(process) the exact name of the process.
          - For V(port) a regular expression that name or command line of the port's holder must match; to see the holder of another
            user's port needs root.
        type: str
      cmdline:
        description: Regular expression that the command line must match somewhere.
        type: str
      user:
        description: User that the process runs as.
        type: str
      units:
        description: systemd units, globs allowed; V(.service) is understood. One that matches nothing is critical.
        type: list
        elements: str
      state:
        description:
          - V(listening) (default) or V(free) for V(port); V(present) (default) or V(absent) for V(file).
          - V(active) (default), V(inactive) or V(not_failed) for V(unit). A oneshot unit that ended well counts as active.
        type: str
      path:
        description:
          - For V(file) an absolute path, globs allowed; age and size are those of the newest match.
          - For V(tls) a certificate file, PEM or DER, in place of an address.
        type: str
      owner:
        description: Owner that the files must have, name or number.
        type: str
      group:
        description: Group that the files must have, name or number.
        type: str
      mode:
        description: Mode that the files must have, octal and in quotes.
        type: str
      min_size:
        description: Size, such as V(10M), below which the file is critical.
        type: str
      max_size:
        description: Size above which the file is critical.
        type: str
      max_age:
        description: Age, such as V(25h), above which the file is critical.
        type: str
      measure:
        description: What the thresholds of a V(file) are held against - V(age) in seconds (default), V(size) in bytes, V(count) of matches.
        type: str
        choices: [age, size, count]
      argv:
        description: Program and arguments of a monitoring plugin; its exit status 0 to 3 is the status of the finding.
        type: list
        elements: str
      chdir:
        description: Folder to run it in.
        type: str
notes:
  - Proxies named in the environment are not used.
  - Nothing needs root but to see who holds another user's port and files that only root may see; without it the finding says so.
"""

EXAMPLES = r"""
- name: Probe the services of this host
  opsrunner.runbook.health_probe:
    probes:
      - name: api
        type: http
        url: https://127.0.0.1:9999/health
        server_name: api.example.org
        warning: "500"
        critical: "2000"
        retries: 2
        json:
          - {name: database, expression: components.db.status, equals: UP}
          - {name: pool, expression: pool.active, warning: "80", critical: "95", unit: "%"}
      - name: certificate
        type: tls
        addresses: [api.example.org, "[2001:db8::1]:443"]
      - {name: web, type: unit, units: ["web-*"]}
      - {name: redis, type: port, port: 6379, process: redis-server}
      - {name: backup, type: file, path: /backup/*.tar.gz, max_age: 25h, min_size: 1M}
      - {name: raid, type: command, argv: [/usr/lib/nagios/plugins/check_raid]}

- name: Probe from the controller, once for the whole system
  opsrunner.runbook.health_probe:
    scope: system
    probes:
      - {name: status page, type: http, url: "https://status.example.org/"}
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
findings:
  description: What was found, C(<type>.<name>) each.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "http.api", "kind": "http", "status": "ok", "value": 41.2, "unit": "ms", "warning": "500", "critical": "2000"}]
results:
  description: What was measured, an entry a probe in the order given; what was seen is in the findings' evidence.
  type: list
  elements: dict
  returned: always
  sample:
    - name: api
      type: http
      check: http.api
      status: ok
      value: 41.2
      unit: ms
      timings: {name_ms: 0.1, connect_ms: 0.4, tls_ms: 3.9, first_byte_ms: 36.5, body_ms: 0.1, total_ms: 41.2}
elapsed_ms:
  description: Time for all probes together.
  type: float
  returned: always
  sample: 52.7
"""

import time

from ansible.module_utils.basic import AnsibleModule

import ansible_collections.opsrunner.runbook.plugins.module_utils._core.compile_once  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import options as probe_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._probe import run as probe


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "scope": {"type": "str", "choices": ["host", "system"], "default": "host"},
            "deadline": {"type": "str", "default": "30"},
            "concurrency": {"type": "int", "default": 250},
            "jmespath": {"type": "str"},
            "probes": {"type": "list", "elements": "dict", "required": True, "options": probe_options.argument_spec()},
        },
        supports_check_mode=True,
        no_log=True,  # the target's journal is no place for headers and URLs with secrets
    )
    started = time.monotonic()
    try:
        settings = probe_options.parse(module.params)
    except OptionError as error:
        module.fail_json(msg=str(error), invocation={})
    findings, results = probe.run_probes(settings.probes, settings.deadline, settings.concurrency, module.params["jmespath"])
    took = round((time.monotonic() - started) * 1000, 1)
    module.exit_json(changed=False, findings=findings, results=results, elapsed_ms=took, invocation={})


if __name__ == "__main__":
    main()
