module github.com/parley-tcp/parley

go 1.26
