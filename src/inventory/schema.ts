/** The forms of usher.db, from the first on. A script that was released is never changed: what changes is a new one. */

export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE vm (
     uuid TEXT PRIMARY KEY,
     name TEXT NOT NULL UNIQUE,
     driver TEXT NOT NULL,
     path TEXT,
     content TEXT NOT NULL,
     autostart INTEGER NOT NULL,
     wanted TEXT NOT NULL,
     wanted_boot TEXT NOT NULL,
     suspend_file TEXT,
     created_at INTEGER NOT NULL
   ) STRICT;

   CREATE TABLE assignment (
     id INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never used again: people write them down
     vm TEXT NOT NULL REFERENCES vm (uuid) ON DELETE CASCADE,
     pattern TEXT NOT NULL,
     mode TEXT NOT NULL,
     created_at INTEGER NOT NULL,
     UNIQUE (vm, pattern)
   ) STRICT;

   CREATE TABLE hold (
     backend TEXT NOT NULL,
     busid TEXT NOT NULL,
     generation TEXT NOT NULL,
     kind TEXT NOT NULL,
     vm TEXT REFERENCES vm (uuid) ON DELETE CASCADE,
     controller INTEGER,
     port INTEGER,
     created_at INTEGER NOT NULL,
     PRIMARY KEY (backend, busid)
   ) STRICT;
   CREATE INDEX hold_vm ON hold (vm);

   CREATE TABLE software_device (
     busid TEXT PRIMARY KEY,
     software TEXT NOT NULL, -- JSON
     generation TEXT NOT NULL
   ) STRICT;

   CREATE TABLE note (
     key TEXT PRIMARY KEY,
     value TEXT NOT NULL
   ) STRICT;`,

  `ALTER TABLE hold ADD COLUMN origin TEXT NOT NULL DEFAULT 'hand';
   ALTER TABLE hold ADD COLUMN forced INTEGER NOT NULL DEFAULT 0;

   CREATE TABLE trial (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     what TEXT NOT NULL,
     undo TEXT NOT NULL, -- JSON
     until INTEGER NOT NULL
   ) STRICT;

   CREATE TABLE question (
     backend TEXT NOT NULL,
     busid TEXT NOT NULL,
     generation TEXT NOT NULL,
     vms TEXT NOT NULL, -- uuids with spaces between
     asked_at INTEGER NOT NULL,
     expires_at INTEGER NOT NULL,
     PRIMARY KEY (backend, busid)
   ) STRICT;`,

  `ALTER TABLE hold ADD COLUMN device_id TEXT;

   CREATE TABLE last_place (
     device TEXT PRIMARY KEY, -- backend:busid
     generation TEXT NOT NULL,
     vm TEXT NOT NULL,
     controller INTEGER NOT NULL,
     port INTEGER NOT NULL
   ) STRICT;`,
];
