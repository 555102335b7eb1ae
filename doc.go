// Package parley serves and calls request/reply protocols over TCP: each request
// gets exactly one reply, in order, and both sides learn how the conversation
// ended.
//
//	upper := func(dst []byte, req *parley.Request) ([]byte, error) {
//		return append(dst, bytes.ToUpper(req.Body)...), nil
//	}
//	log.Fatal(parley.ListenAndServe(":6969", parley.HandlerFunc(upper)))
//
// That is a server of lines with limits, clocks and backpressure. To set them, to stop in good order,
// or to speak otherwise than in lines, make a [Server].
//
// # The wire
//
// TCP is a stream and keeps no message boundaries, so a [Framing] says where a
// request ends: at bytes that end it ([Lines], the default, [LinesCRLF], [Delimited],
// [Framed]), where a length before it says ([Length], [OctetCounted], [Netstring]), at the
// end of the stream ([UntilClose]) or of a read ([Chunks]); or one of your own. Replies may
// be framed otherwise ([Server.Replies], [Dialer.Replies]), or there are [NoReplies]. Where
// what a message is depends on those before it, as in HTTP, the Framing is a [Protocol].
// An empty request ends the conversation, unless [Server.KeepBlank] is set.
//
// # The server
//
// A [Server] hands each request to its [Handler] and tells its [Observer] what
// happens. [Server.ListenAndServe] opens a port for it, [Server.Serve] takes any listener. Its zero
// value has limits and clocks that survive hostile peers; each field's comment gives the default.
// What a handler has to remember of a peer is in [Session.Data]. [Server.Shutdown] drains: what was read is
// answered. [Server.Engine] chooses what drives the sessions: a goroutine each, or, for
// handlers that never block, a few event loops. A [Template] is a Handler made of a pattern such as
// `Request #{conn} - {message} ...`; one that is a [Speaker] also says what nobody asked for.
//
// # The client
//
// [Dial] connects, [Client.Do] sends a request and waits for its reply,
// [Client.Send] and [Client.Receive] do one each, for pipelining.
//
// # TLS
//
// Serve takes any listener: [NewTLSListener] makes one of TLS, and [Dialer.TLS] is its other
// side. A connection is no session before its handshake is done ([Server.HandshakeTimeout]);
// [Session.TLS] and [Session.TLSName] say who the peer is.
//
// # How it works
//
// conversation.go holds one session's whole protocol and does no I/O; engine.go drives
// it in a goroutine, engine_linux.go in an event loop. docs/protocol.md describes the wire,
// docs/events.md the events and docs/guarantees.md what is promised, with the
// test that shows it.
package parley
