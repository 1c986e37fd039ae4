"""`pairing-ws`, and `python -m pairing_ws`: loads the command line and hands over, nothing else."""

from pairing_ws.loading import load


def main() -> None:
    load("cli").main()


if __name__ == "__main__":
    main()
