package journal

import "strings"

// The views that people ask, in two forms: kept in the file, and made for one that asks a journal
// of an older version, or that does not trust what the file keeps by these names. Their columns
// change with the version of the journal only; docs/journal.md says what they are.

// viewsOf is how the views v_exchange and v_session are made in a journal of some version. As is
// VIEW, or TEMP VIEW.
func viewsOf(version int64, as string) string {
	with := func(since int64, column string) string {
		if version < since {
			return "NULL"
		}
		return column
	}
	origin := func(column string) string { return with(3, "nullif(o."+column+", '')") }
	joinOrigin := ""
	if version >= 3 {
		joinOrigin = "LEFT JOIN main.origins o ON o.id = s.origin"
	}
	message := func(name, headAt, tailAt string) string {
		if version < 3 {
			return "e." + name
		}
		head := "coalesce(c." + name + "_head, e.parts >> " + headAt + " & 127)"
		tail := "coalesce(c." + name + "_tail, e.parts >> " + tailAt + " & 255)"
		return "iif(e." + name + "_at IS NULL, e." + name + ", substr(e." + name + ", 1 + " + head + ", length(e." + name + ") - " + head + " - " + tail + "))"
	}
	length := func(name, message string) string {
		whole := "length(" + message + ")"
		if version >= 4 {
			whole = "coalesce(nullif(c." + name + "_whole, 0), " + whole + ")"
		}
		return "iif(e." + name + " IS NULL, NULL, " + whole + " + coalesce(c." + name + ", 0))"
	}
	moment := func(ns string) string {
		return "strftime('%Y-%m-%dT%H:%M:%S', " + ns + " / 1000000000, 'unixepoch') || printf('.%09dZ', " + ns + " % 1000000000)"
	}
	request, reply := message("request", "23", "15"), message("reply", "8", "0")
	faults, whole := "NULL", ""
	if version >= 3 {
		whole = "WHERE e.parts IS NULL OR e.parts >> 30 & 1 = 0"
	}
	if version >= 4 {
		faults = "iif(e.seq = 0, NULL, " + faultsInOrder + ")"
	}
	return strings.NewReplacer(
		"{AS}", as, "{request}", request, "{reply}", reply,
		"{request_bytes}", length("request", request), "{reply_bytes}", length("reply", reply),
		"{received}", moment("e.received_ns"), "{opened}", moment("s.opened_ns"), "{closed}", moment("s.closed_ns"),
		"{secret}", with(3, "e.parts >> 31 & 1"), "{faults}", faults, "{whole}", whole,
		"{framing}", origin("framing"), "{node}", origin("node"), "{role}", origin("role"),
		"{listener}", origin("listener"), "{upstream}", origin("upstream"), "{origin}", joinOrigin,
		"{stray}", with(3, "s.stray"), "{tls_version}", with(3, "s.tls_version"), "{tls_name}", with(3, "s.tls_name"), "{proxied}", with(3, "s.proxied"),
		"{out_local}", with(5, "s.out_local"), "{out_remote}", with(5, "s.out_remote"),
	).Replace(views)
}

// The faults of an exchange in their order. Journals that were made before have an aggregate with an ORDER BY of its
// own, which is of SQLite 3.44: older ones do not read such a file at all.
const (
	faultsInOrder = "(SELECT group_concat(fault, ', ') FROM (SELECT f.fault FROM main.faults f WHERE f.session = e.session AND f.seq = e.seq ORDER BY f.id))"
	faultsBefore  = "(SELECT group_concat(f.fault, ', ' ORDER BY f.id) FROM main.faults f WHERE f.session = e.session AND f.seq = e.seq)"
)

const views = `
CREATE {AS} v_exchange AS SELECT
	e.id, e.session, s.number, e.seq, s.remote, s.local,
	{received} AS received, e.received_ns, e.took_ns,
	{request} AS request,
	{reply} AS reply,
	{request_bytes} AS request_bytes,
	{reply_bytes} AS reply_bytes,
	CASE
		WHEN e.reply IS NULL         THEN 'no'
		WHEN e.seq = 0               THEN 'unasked'
		WHEN e.seq <= s.replied_upto THEN 'yes'
		WHEN s.closed_ns IS NULL     THEN 'unknown'
		ELSE 'no' END AS replied,
	{secret} AS secret,
	{faults} AS fault,
	{framing} AS framing, {node} AS node, {role} AS role, {listener} AS listener, {upstream} AS upstream
	FROM main.exchanges e LEFT JOIN main.cuts c ON c.exchange = e.id LEFT JOIN main.sessions s ON s.id = e.session {origin} {whole};
CREATE {AS} v_session AS SELECT
	s.id, s.number, s.remote, s.local,
	{opened} AS opened, s.opened_ns,
	{closed} AS closed, s.closed_ns, s.closed_ns - s.opened_ns AS lasted_ns, s.reason,
	iif(s.closed_ns IS NULL, NULL, s.requests) AS requests, iif(s.closed_ns IS NULL, NULL, s.replied_upto) AS replied_upto,
	iif(s.closed_ns IS NULL, NULL, s.bytes_in) AS bytes_in, iif(s.closed_ns IS NULL, NULL, s.bytes_out) AS bytes_out,
	{stray} AS stray,
	{framing} AS framing, {node} AS node, {role} AS role, {listener} AS listener, {upstream} AS upstream,
	{tls_version} AS tls_version, {tls_name} AS tls_name, {proxied} AS proxied,
	{out_local} AS out_local, {out_remote} AS out_remote
	FROM main.sessions s {origin};
`
