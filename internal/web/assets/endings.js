// Why a session ends, in words.

export const endings = {
  eof: 'the client closed',
  blank: 'the client sent an empty request',
  no_request: 'the client closed and had sent nothing',
  truncated: 'the client closed inside a request',
  reset: 'the connection was reset',
  idle_timeout: 'nothing came for too long',
  first_byte_timeout: 'nothing ever came',
  request_timeout: 'a request came in too slowly',
  write_timeout: 'the client does not read its replies',
  too_long: 'a request was too long',
  malformed: 'what came can be no request',
  memory: 'all held too much, and it most',
  handler_error: 'the handler failed',
  hang_up: 'the handler hung up',
  mismatch: 'the client said something else than was expected',
  fault: 'ended on purpose, by a fault',
  shutdown: 'the server is shutting down',
  drain_cut: 'cut by the shutdown',
  closed: 'the server stopped',
  io_error: 'the connection failed',
  unreachable: 'the server behind the tap could not be reached',
  upstream_reset: 'the server behind the tap reset the connection',
}

const good = ['eof', 'blank', 'hang_up', 'no_request', 'first_byte_timeout', 'shutdown', 'open']

// isBad reports whether a session that ended so did not come to its end as its peers wanted.
export const isBad = reason => Boolean(reason) && !good.includes(reason)
