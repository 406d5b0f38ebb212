-- Everything that a dump, a count or a restore could trip over, in one database.
CREATE EXTENSION pg_trgm;
CREATE SCHEMA "Größe.mit Punkt";
CREATE TYPE mood AS ENUM ('so lala', 'glücklich', 'it''s "bad"');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE all_bytes (id bigserial PRIMARY KEY, data bytea, words text[], state mood, doc jsonb, grid int[][], during tstzrange, spans span);
INSERT INTO all_bytes (data, words, state, doc, grid, during)
  SELECT decode(repeat(lpad(to_hex(g % 256), 2, '0'), g % 40), 'hex'), ARRAY['a,b', NULL, '"', E'\\', '{}', E'tab\tnew\nline'], 'glücklich',
         jsonb_build_object('k', g, 'nested', jsonb_build_array(NULL, 'x', 1.5)), ARRAY[[1,2],[3,g]], tstzrange(now(), NULL)
  FROM generate_series(0, 999) g;
INSERT INTO all_bytes (data) SELECT decode(string_agg(lpad(to_hex(b), 2, '0'), '' ORDER BY b), 'hex') FROM generate_series(0, 255) b;
CREATE TABLE "Größe.mit Punkt"."T""able; DROP TABLE x; --" ("Spalte ""1""" text COLLATE "C" PRIMARY KEY, "SELECT" int, "new
line" text);
INSERT INTO "Größe.mit Punkt"."T""able; DROP TABLE x; --" VALUES ('ключ', 1, E'\\.'), (E'\\.\n\\.', 2, 'COPY public.fake (x) FROM stdin;'), ('日本語', NULL, '');
CREATE TABLE "UPPER" (id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 10) PRIMARY KEY, a numeric, b numeric GENERATED ALWAYS AS (a * 2) STORED, f float8);
INSERT INTO "UPPER" (a, f) VALUES (1.10, 0.1::float8 + 0.2::float8), ('NaN', 'Infinity'), (-0.0001, '-0');
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE no_columns ();
INSERT INTO no_columns SELECT FROM generate_series(1, 3);
CREATE TABLE parent (id int PRIMARY KEY, child int, note text DEFAULT 'x');
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE parent ADD CONSTRAINT parent_child FOREIGN KEY (child) REFERENCES child(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
COMMENT ON CONSTRAINT parent_child ON parent IS 'a ''circle''';
BEGIN; INSERT INTO parent SELECT g, g FROM generate_series(1, 50) g; INSERT INTO child SELECT g, g FROM generate_series(1, 50) g; COMMIT;
CREATE TABLE events (at date NOT NULL, id int, body text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY LIST (id);
CREATE TABLE events_2_a PARTITION OF events_2 FOR VALUES IN (1, 2);
CREATE TABLE events_2_rest PARTITION OF events_2 DEFAULT;
CREATE INDEX events_body ON events (body);
INSERT INTO events SELECT date '2026-01-01' + g % 59, g % 5, 'e' || g FROM generate_series(0, 294) g;
CREATE TABLE base (id int PRIMARY KEY, t text); CREATE TABLE derived (more int) INHERITS (base);
INSERT INTO base VALUES (1, 'base'); INSERT INTO derived VALUES (2, 'derived', 3);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY); INSERT INTO unlogged VALUES (1);
CREATE TABLE audit (n int);
CREATE FUNCTION note_it() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO public.audit VALUES (1); RETURN NEW; END $f$;
CREATE TRIGGER noted AFTER INSERT OR DELETE ON parent FOR EACH ROW EXECUTE FUNCTION note_it();
CREATE TRIGGER never BEFORE UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION note_it(); ALTER TABLE parent DISABLE TRIGGER never;
CREATE TRIGGER always BEFORE UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION note_it(); ALTER TABLE parent ENABLE ALWAYS TRIGGER always;
CREATE FUNCTION looks_like_a_dump() RETURNS text LANGUAGE sql AS $f$ SELECT '
COPY public.fake (a) FROM stdin;
1
\.
' $f$;
CREATE PROCEDURE proc(INOUT x int) LANGUAGE plpgsql AS $f$ BEGIN x := x + 1; END $f$;
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE VIEW shown AS SELECT p.id, c.id AS c FROM parent p JOIN child c ON c.parent = p.id;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM all_bytes;
CREATE MATERIALIZED VIEW unfilled AS SELECT 1 WITH NO DATA;
CREATE INDEX words ON all_bytes USING gin (words); CREATE INDEX trigrams ON parent USING gin (note gin_trgm_ops);
CREATE UNIQUE INDEX partly ON all_bytes (id) WHERE state = 'so lala';
CREATE SEQUENCE lonely MINVALUE -5 START -5; SELECT nextval('lonely');
CREATE SEQUENCE down INCREMENT -1; SELECT nextval('down'), nextval('down');
CREATE SEQUENCE unused;
CREATE POLICY mine ON parent USING (id > 0);
SELECT lo_from_bytea(7001, decode(repeat('00ff0a5c', 3000), 'hex')); SELECT lo_from_bytea(0, '');
COMMENT ON TABLE parent IS 'umlaut ä, quote '', backslash \, dollar $$';
ALTER TABLE child OWNER TO app_owner; GRANT SELECT ON child TO reader; GRANT INSERT (id) ON parent TO reader WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA public GRANT SELECT ON TABLES TO reader;
CREATE STATISTICS wide ON id, note FROM parent;
CREATE RULE nothing AS ON INSERT TO shown DO INSTEAD NOTHING;
