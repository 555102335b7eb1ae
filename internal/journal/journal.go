// Package journal keeps every session and every exchange of a server in an SQLite file,
// and reads them back.
package journal

import (
	"strings"
	"time"

	"github.com/parley-tcp/parley"
)

// A Session is one conversation as the journal keeps it.
type Session struct {
	ID          int64     // the journal's own number, by which exchanges name their session
	Lost        bool      // the journal has exchanges of it and not its own record: all but ID is zero
	Number      uint64    // as the server counted it, from 1 at each start
	Remote      string    // the two addresses, as the server sees them
	Local       string    //
	Opened      time.Time // when the connection was accepted
	Closed      time.Time // zero while it is open, and for ever if the server had no time to say
	Reason      string    // why it ended, as docs/events.md names it; empty while Closed is zero
	Requests    uint64    // how many there were; known once it is closed
	RepliedUpTo uint64    // the last reply that was written whole; known once it is closed
	BytesIn     uint64    // read from the peer in all, endings included; known once it is closed
	BytesOut    uint64    // written to it
	Stray       uint64    // bytes of BytesIn that belonged to no message; known once it is closed

	About             // how the session came to be
	TLSVersion string // such as TLS 1.3; empty in plain
	TLSName    string // of the peer's certificate
	Proxied    string // the address of the proxy that Remote came through
	OutLocal   string // of a tap: its own address in the connection to the server behind it; known once that is there
	OutRemote  string // and the server's
}

// About says how the sessions of a writer come to be. What is empty is not known, as of
// journals that an older parley has written.
type About struct {
	Framing  string // where a message ends, by the name that --framing takes
	Role     string // of who writes: server, tap, or client; import if they were in a capture
	Listener string // where it listens
	Upstream string // the server behind a tap, or to which a client talks
	Node     string // the machine
}

// LooksOn reports whether they are sessions of others, who were listened to.
func (a *About) LooksOn() bool { return a.Role == "tap" || a.Role == "import" }

// Ends are the addresses of the client and of the server, of whom one has recorded the session, or a
// tap between them.
func (s *Session) Ends() (client, server string) {
	if s.Role == RoleClient {
		return s.Local, s.Remote
	}
	return s.Remote, s.Local
}

// RoleClient is the Role of a client's own record: the remote address is the server's there.
const RoleClient = "client"

// An Exchange is one request and its reply, bytes exactly as they were, without their framing
// and with it. Bytes that belong to no message are one that has RawRequest or RawReply alone.
type Exchange struct {
	ID       int64         // in the order of recording
	Session  int64         // its Session.ID
	Seq      uint64        // the request's number in its session, from 1; 0 of a message that answers no request
	Received time.Time     // when the read that completed the request returned, or the message
	Took     time.Duration // from then until the reply was made
	Request  []byte        // nil if there was none, or if it is kept alone before this (a tap)
	Reply    []byte        // nil if there was none: a request that nobody answered, seen by a tap

	RequestCut uint64 // how many bytes of the request at its end are not kept; only a tap keeps less than all
	ReplyCut   uint64 // the same of the reply

	RequestWhole int // if parts of Request were replaced to conceal them: how many bytes it had before; 0 if nothing was
	ReplyWhole   int // the same of Reply

	RawRequest parley.Raw // Bytes is nil if there was none, and of what an older parley has written
	RawReply   parley.Raw
	Secret     bool   // the request carries credentials
	Fault      string // what went wrong on purpose with one of the two, such as reply.delay=50ms, with ", " between several; empty if nothing
}

// A Refusal is a connection that was not let in.
type Refusal struct {
	ID     int64 // in the order of recording
	At     time.Time
	Remote string
	Local  string
	Reason string // as docs/events.md names it
	Text   []byte // what the peer was told; nil if nothing

	RawText parley.Raw // the same as it was sent; Bytes is nil of what an older parley has written
	About              // who refused it
}

// A Fault is what went wrong on purpose.
type Fault struct {
	ID      int64 // in the order of recording
	Session int64 // its Session.ID
	At      time.Time
	Seq     uint64 // of the request with which it did, or with whose reply; 0 if with the session
	Fault   string // such as reply.delay=50ms
}

// schema is that of version 1 of the file. Times are ns since 1970 in UTC.
const schema = `
CREATE TABLE sessions (
	id           INTEGER PRIMARY KEY,
	number       INTEGER NOT NULL,           -- as the server counted it, from 1 at each start
	remote       TEXT    NOT NULL,
	local        TEXT    NOT NULL,
	opened_ns    INTEGER NOT NULL,
	closed_ns    INTEGER,                    -- NULL while it is open, and if the server had no time to say
	reason       TEXT,
	requests     INTEGER NOT NULL DEFAULT 0,
	replied_upto INTEGER NOT NULL DEFAULT 0, -- the last reply that was written whole
	bytes_in     INTEGER NOT NULL DEFAULT 0,
	bytes_out    INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE exchanges (
	id          INTEGER PRIMARY KEY,         -- in the order of recording
	session     INTEGER NOT NULL,            -- sessions.id
	seq         INTEGER NOT NULL,
	received_ns INTEGER NOT NULL,
	took_ns     INTEGER NOT NULL,
	request     BLOB,                        -- NULL if there was none (a tap)
	reply       BLOB
);
-- Messages of which only the beginning is kept (a tap), and how many bytes more they had.
CREATE TABLE cuts (
	exchange INTEGER PRIMARY KEY,            -- exchanges.id
	request  INTEGER NOT NULL,
	reply    INTEGER NOT NULL
);
-- Whether a reply was written whole. Of a session that nobody saw end it is not known.
CREATE VIEW replies AS
	SELECT e.session, e.seq, CASE
		WHEN e.seq <= s.replied_upto THEN 'yes'
		WHEN s.closed_ns IS NULL     THEN 'unknown'
		ELSE 'no' END AS replied
	FROM exchanges e JOIN sessions s ON s.id = e.session;
-- When the journal could not be written, and how many exchanges are missing for it.
CREATE TABLE gaps (
	from_ns   INTEGER NOT NULL,
	to_ns     INTEGER NOT NULL,
	exchanges INTEGER NOT NULL,              -- 0 if all peers were kept waiting
	sessions  INTEGER NOT NULL,              -- openings and ends
	reason    TEXT    NOT NULL
);
-- The server that writes it, or did last.
CREATE TABLE writer (
	pid      INTEGER NOT NULL,
	since_ns INTEGER NOT NULL
);
`

// upgradeTo2 makes version 2 of version 1: a new file too is made in these steps. What
// version 1 has recorded keeps a sum of NULL.
const upgradeTo2 = `
ALTER TABLE sessions ADD COLUMN ended INTEGER; -- counts the ends, in the order of recording; NULL while it is open
ALTER TABLE sessions ADD COLUMN sum INTEGER;   -- CRC-32C of the row, see docs/journal.md
CREATE INDEX ends ON sessions (ended) WHERE ended IS NOT NULL;
ALTER TABLE exchanges ADD COLUMN sum INTEGER;  -- the same, of the row and of what cuts has of it
ALTER TABLE writer ADD COLUMN session INTEGER NOT NULL DEFAULT 0; -- the highest sessions.id that anything was recorded of
-- Connections that were not let in.
CREATE TABLE refused (
	id     INTEGER PRIMARY KEY, -- in the order of recording
	at_ns  INTEGER NOT NULL,
	remote TEXT    NOT NULL,
	local  TEXT    NOT NULL,
	reason TEXT    NOT NULL,
	told   BLOB,                -- the text that the peer got; NULL if none
	sum    INTEGER
);
`

// upgradeTo3 makes version 3 of version 2: it has the messages with their framing. In what the
// versions before have recorded the new columns are NULL, and request and reply are without.
const upgradeTo3 = `
-- How sessions came to be.
CREATE TABLE origins (
	id       INTEGER PRIMARY KEY,
	framing  TEXT NOT NULL,
	role     TEXT NOT NULL,                    -- server or tap
	listener TEXT NOT NULL,
	upstream TEXT NOT NULL,
	node     TEXT NOT NULL,
	sum      INTEGER
);
ALTER TABLE sessions ADD COLUMN origin INTEGER;      -- origins.id
ALTER TABLE sessions ADD COLUMN last INTEGER;        -- its last exchanges.id, 0 if it has none; NULL while it is open
ALTER TABLE sessions ADD COLUMN stray INTEGER;       -- bytes of bytes_in that belonged to no message
ALTER TABLE sessions ADD COLUMN tls_version TEXT;
ALTER TABLE sessions ADD COLUMN tls_name TEXT;
ALTER TABLE sessions ADD COLUMN proxied TEXT;
CREATE INDEX numbers ON sessions (number);
ALTER TABLE exchanges ADD COLUMN request_at INTEGER; -- how many bytes of the peer came before; NULL if request is without its framing
ALTER TABLE exchanges ADD COLUMN reply_at INTEGER;
ALTER TABLE exchanges ADD COLUMN parts INTEGER;      -- what lies where, and where the session's exchange before this one is
ALTER TABLE cuts ADD COLUMN request_raw INTEGER;     -- bytes that are missing of it with its framing
ALTER TABLE cuts ADD COLUMN reply_raw INTEGER;
ALTER TABLE cuts ADD COLUMN request_head INTEGER;    -- bytes before and behind the message, where parts has no room
ALTER TABLE cuts ADD COLUMN request_tail INTEGER;
ALTER TABLE cuts ADD COLUMN reply_head INTEGER;
ALTER TABLE cuts ADD COLUMN reply_tail INTEGER;
ALTER TABLE refused ADD COLUMN origin INTEGER;
ALTER TABLE refused ADD COLUMN head INTEGER;         -- bytes of told before the text
ALTER TABLE refused ADD COLUMN length INTEGER;       -- of the text; NULL if told is without its framing
-- The last exchange of each session from the first one of this writer on that is open.
CREATE TABLE latest (
	first     INTEGER NOT NULL,                -- sessions.id
	upto      INTEGER NOT NULL,                -- exchanges.id: as it was then
	exchanges BLOB    NOT NULL,
	sum       INTEGER NOT NULL
);
-- Messages without their framing.
CREATE VIEW messages AS
	SELECT id, session, seq, received_ns, took_ns,
		iif(request_at IS NULL, request, substr(request, 1 + request_head, length(request) - request_head - request_tail)) AS request,
		iif(reply_at IS NULL, reply, substr(reply, 1 + reply_head, length(reply) - reply_head - reply_tail)) AS reply,
		parts >> 31 & 1 AS secret
	FROM (SELECT e.*,
		coalesce(cuts.request_head, parts >> 23 & 127) AS request_head, coalesce(cuts.request_tail, parts >> 15 & 255) AS request_tail,
		coalesce(cuts.reply_head, parts >> 8 & 127) AS reply_head, coalesce(cuts.reply_tail, parts & 255) AS reply_tail
		FROM exchanges e LEFT JOIN cuts ON cuts.exchange = e.id)
	WHERE parts IS NULL OR parts >> 30 & 1 = 0;
DROP VIEW replies;
CREATE VIEW replies AS
	SELECT e.session, e.seq, CASE
		WHEN e.seq <= s.replied_upto THEN 'yes'
		WHEN s.closed_ns IS NULL     THEN 'unknown'
		ELSE 'no' END AS replied
	FROM messages e JOIN sessions s ON s.id = e.session;
`

// upgradeTo4 makes version 4 of version 3: it has what went wrong on purpose, how long messages
// were of which parts are concealed, and the views that people ask.
const upgradeTo4 = `
-- What went wrong on purpose.
CREATE TABLE faults (
	id      INTEGER PRIMARY KEY, -- in the order of recording
	session INTEGER NOT NULL,    -- sessions.id
	at_ns   INTEGER NOT NULL,
	seq     INTEGER NOT NULL,    -- of the request with which it did, or with whose reply; 0 if with the session
	fault   TEXT    NOT NULL,    -- such as reply.delay=50ms
	sum     INTEGER
);
CREATE INDEX faults_of ON faults (session, seq);
ALTER TABLE cuts ADD COLUMN request_whole INTEGER; -- bytes of the message before parts of it were replaced to conceal them
ALTER TABLE cuts ADD COLUMN reply_whole INTEGER;
DROP VIEW IF EXISTS v_exchange;
DROP VIEW IF EXISTS v_session;
`

// upgradeTo5 makes version 5 of version 4, for journals of many machines: what a journal is called,
// how far others have followed it, and which journals it was collected of.
const upgradeTo5 = `
-- What this journal is called among others.
CREATE TABLE identity (
	id      INTEGER PRIMARY KEY,
	journal TEXT    NOT NULL, -- 32 hex digits, made with the file
	sum     INTEGER NOT NULL
);
-- How far somebody has followed it.
CREATE TABLE cursors (
	id       INTEGER PRIMARY KEY,
	name     TEXT    NOT NULL UNIQUE,
	exchange INTEGER NOT NULL, -- exchanges.id
	ended    INTEGER NOT NULL, -- sessions.ended
	opened   INTEGER NOT NULL, -- sessions.id
	refused  INTEGER NOT NULL, -- refused.id
	fault    INTEGER NOT NULL, -- faults.id
	gap      INTEGER NOT NULL, -- gaps.rowid
	sum      INTEGER NOT NULL
);
-- The journals whose records are collected in this one, and how far they are.
CREATE TABLE sources (
	id       INTEGER PRIMARY KEY,
	journal  TEXT    NOT NULL UNIQUE, -- its identity
	node     TEXT    NOT NULL,
	exchange INTEGER NOT NULL, -- of the numbers there, as in cursors
	ended    INTEGER NOT NULL,
	opened   INTEGER NOT NULL,
	refused  INTEGER NOT NULL,
	fault    INTEGER NOT NULL,
	gap      INTEGER NOT NULL,
	mark     INTEGER NOT NULL, -- where in what carried them they were
	sum      INTEGER NOT NULL
);
-- The sessions of those.
CREATE TABLE collected (
	id      INTEGER PRIMARY KEY, -- sessions.id
	source  INTEGER NOT NULL,    -- sources.id
	session INTEGER NOT NULL,    -- sessions.id there
	sum     INTEGER NOT NULL
);
CREATE UNIQUE INDEX collected_of ON collected (source, session);
ALTER TABLE sessions ADD COLUMN out_local TEXT;  -- of a tap: the two addresses of its connection to the server behind it
ALTER TABLE sessions ADD COLUMN out_remote TEXT;
ALTER TABLE gaps ADD COLUMN node TEXT;           -- whose, in a journal that was collected
DROP VIEW IF EXISTS v_exchange;
DROP VIEW IF EXISTS v_session;
`

// upgradeTo6 makes version 6 of version 5: all that somebody is told has a checksum.
const upgradeTo6 = `
ALTER TABLE gaps ADD COLUMN sum INTEGER;
ALTER TABLE writer ADD COLUMN sum INTEGER;
DROP VIEW IF EXISTS v_exchange;
DROP VIEW IF EXISTS v_session;
`

// schemaOf is how the tables of a version are made.
func schemaOf(version int64) string {
	return strings.Join([]string{schema, upgradeTo2, upgradeTo3, upgradeTo4, upgradeTo5, upgradeTo6}[:version], ";")
}

// unlinked finds the exchanges of a session that versions before 3 have recorded. It costs what
// is recorded now next to nothing.
const unlinked = "CREATE INDEX unlinked ON exchanges (session) WHERE parts IS NULL"
