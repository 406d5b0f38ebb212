-- Everything that a dump, a count or a restore could trip over, in one database.
CREATE TABLE all_bytes (id INT AUTO_INCREMENT PRIMARY KEY, data BLOB, bits BIT(5), words TEXT, state ENUM('so lala', 'glücklich', 'it''s'), flags SET('a', 'b'),
  doc JSON, place GEOMETRY, n DECIMAL(30, 10), d DOUBLE, at DATETIME(6), ts TIMESTAMP NULL DEFAULT NULL, twice INT GENERATED ALWAYS AS (n * 2) STORED,
  thrice INT GENERATED ALWAYS AS (n * 3) VIRTUAL, KEY (words(20))) COMMENT 'a ''comment''; with "quotes" and \\';
INSERT INTO all_bytes (data, bits, words, state, flags, doc, place, n, d, at, ts) SELECT UNHEX(REPEAT(LPAD(HEX(seq % 256), 2, '0'), seq % 50)), b'10101',
  CONCAT('x),(', seq, '\'\\";\n\r\0\Z-- #/*'), 'glücklich', 'a,b', JSON_OBJECT('k', seq, 'q', '"\'\\'), POINT(seq, 1), seq / 7, seq / 7e0, '2026-01-02 03:04:05.678901',
  '2026-03-29 01:30:00' FROM seq_0_to_999;
INSERT INTO all_bytes (data, words) VALUES (UNHEX(REPEAT('5C', 3)), '\\'), (UNHEX('27'), '\\\\\''), (UNHEX('00'), ''), ('', '),('), (NULL, NULL), ('x', 'INSERT INTO `fake` VALUES\n(1);\n');
UPDATE all_bytes SET data = (SELECT UNHEX(GROUP_CONCAT(LPAD(HEX(seq), 2, '0') ORDER BY seq SEPARATOR '')) FROM seq_0_to_255) WHERE id = 1;
CREATE TABLE `Größe; DROP TABLE x; -- 'q' "d" ``b``` (`it's` INT PRIMARY KEY, `col``umn,` TEXT, `SELECT` VARCHAR(20) CHARACTER SET latin1);
INSERT INTO `Größe; DROP TABLE x; -- 'q' "d" ``b``` VALUES (1, 'ключ', 'é'), (2, '日本語 😀', ''), (3, NULL, '),(');
CREATE TABLE empty (id INT PRIMARY KEY);
CREATE TABLE parent (id INT PRIMARY KEY, child INT, note TEXT);
CREATE TABLE child (id INT PRIMARY KEY, parent INT, CONSTRAINT child_parent FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE);
ALTER TABLE parent ADD CONSTRAINT parent_child FOREIGN KEY (child) REFERENCES child (id) ON DELETE SET NULL;
SET foreign_key_checks = 0; INSERT INTO parent SELECT seq, seq, 'p' FROM seq_1_to_50; INSERT INTO child SELECT seq, seq FROM seq_1_to_50; SET foreign_key_checks = 1;
CREATE TABLE events_ (at DATE, id INT, PRIMARY KEY (at, id)) PARTITION BY RANGE (YEAR(at)) (PARTITION p0 VALUES LESS THAN (2026), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO events_ SELECT DATE('2025-07-01') + INTERVAL seq DAY, seq FROM seq_1_to_365;
CREATE TABLE no_key (a INT, b INT, UNIQUE (b)); INSERT INTO no_key SELECT seq, NULLIF(seq % 5, 0) FROM seq_1_to_4; INSERT INTO no_key VALUES (1, NULL), (1, NULL);
CREATE TABLE old (id INT PRIMARY KEY, t VARCHAR(10)) ENGINE=MyISAM; INSERT INTO old VALUES (0, 'zero'), (1, 'one');
CREATE TABLE audit (n INT);
CREATE SEQUENCE numbers START WITH 5; SELECT NEXTVAL(numbers);
CREATE VIEW shown AS SELECT p.id AS `i``d`, 'a;''b"' AS q FROM parent p JOIN child c ON c.parent = p.id;
CREATE VIEW above AS SELECT * FROM shown;
DELIMITER $$
CREATE TRIGGER noted AFTER DELETE ON parent FOR EACH ROW BEGIN INSERT INTO audit VALUES (1); /* COMMIT; 'x */ END$$
create trigger lower_ before update on child for each row set new.id = new.id$$
CREATE PROCEDURE proc(INOUT x INT) COMMENT 'it''s' BEGIN -- a comment; 'unbalanced
  SET x = x + 1; SELECT "DELIMITER ;", 'INSERT INTO `t` VALUES (1);'; END$$
CREATE FUNCTION twice(x INT) RETURNS INT DETERMINISTIC RETURN x * 2$$
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DO BEGIN DELETE FROM audit; END$$
CREATE EVENT sleeping ON SCHEDULE AT '2036-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO DELETE FROM audit$$
DELIMITER ;
