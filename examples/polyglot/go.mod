module polyglot

go 1.23

require protoqueue v0.0.0

replace protoqueue => ../../clients/go
