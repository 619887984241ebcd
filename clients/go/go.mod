module protoqueue

go 1.23
