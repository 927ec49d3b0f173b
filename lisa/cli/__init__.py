"""The verbs of ``python -m lisa``, one file each: HELP, add_arguments(parser) and run(arguments)."""
