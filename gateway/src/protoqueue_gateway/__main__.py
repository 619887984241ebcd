from protoqueue_gateway.main import main

main()
