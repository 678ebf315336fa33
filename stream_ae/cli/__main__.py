"""`python -m stream_ae.cli`, the same as the console script `stream-ae`."""

from stream_ae.cli.entry import main

if __name__ == "__main__":
    main()
