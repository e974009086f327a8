"""`python -m animask`, which torchrun needs."""

from animask.cli import main

if __name__ == "__main__":
    main()
