"""What holds a queue up, and what to do about it: for `protoqueue why` and for the gateway's dashboard."""
