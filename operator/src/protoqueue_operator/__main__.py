import sys

from protoqueue_operator.main import main

sys.exit(main())
