/**
 * The forms of audit.db. The body of a row is the text that was hashed; what is asked for is computed from it and so
 * cannot differ. The triggers keep mistakes out; the chain of hashes tells of intent.
 */

export const AUDIT_MIGRATIONS: readonly string[] = [
  `CREATE TABLE entry (
     row INTEGER PRIMARY KEY,
     body TEXT NOT NULL, -- canonical JSON of an AuditRow without its hash
     hash TEXT NOT NULL,
     at INTEGER GENERATED ALWAYS AS (iif(json_valid(body), json_extract(body, '$.at'), NULL)) VIRTUAL,
     vm TEXT GENERATED ALWAYS AS (iif(json_valid(body), json_extract(body, '$.vm'), NULL)) VIRTUAL,
     device TEXT GENERATED ALWAYS AS (iif(json_valid(body), json_extract(body, '$.device'), NULL)) VIRTUAL
   ) STRICT;
   CREATE INDEX entry_at ON entry (at);
   CREATE INDEX entry_vm ON entry (vm) WHERE vm IS NOT NULL;
   CREATE INDEX entry_device ON entry (device) WHERE device IS NOT NULL;

   CREATE TRIGGER entry_is_added BEFORE INSERT ON entry
   WHEN NEW.row IS NOT (SELECT ifnull(max(row), 0) + 1 FROM entry)
   BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END;
   CREATE TRIGGER entry_is_not_changed BEFORE UPDATE ON entry
   BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END;
   CREATE TRIGGER entry_is_not_removed BEFORE DELETE ON entry
   BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END;

   -- Which intents have no outcome yet; derived, so that the start of the daemon need not read the whole trail.
   CREATE TABLE open_intent (row INTEGER PRIMARY KEY) STRICT;`,
];
