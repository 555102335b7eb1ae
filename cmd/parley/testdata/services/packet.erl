%% Erlang's {packet, N}: packet.erl N serves, and prints its port; packet.erl N PORT talks to it.
-module(packet).
-export([main/1]).

main([Size]) ->
    {ok, Listener} = gen_tcp:listen(0, options(Size) ++ [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    io:format("~b~n", [Port]),
    accept(Listener);
main([Size, Port]) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), options(Size)),
    lists:foreach(
        fun(Length) ->
            Request = binary:copy(<<"x">>, Length),
            ok = gen_tcp:send(Socket, Request),
            {ok, <<"got ", Request/binary>>} = gen_tcp:recv(Socket, 0)
        end,
        [1, 10, 251]),
    gen_tcp:close(Socket),
    io:format("done~n").

options(Size) -> [binary, {packet, list_to_integer(Size)}, {active, false}, {nodelay, true}, {reuseaddr, true}].

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    answer(Socket),
    accept(Listener).

answer(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Request} ->
            ok = gen_tcp:send(Socket, [<<"got ">>, Request]),
            answer(Socket);
        {error, closed} ->
            gen_tcp:close(Socket)
    end.
