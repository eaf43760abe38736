"""The entry point of the command line. It hears signals before it imports anything heavy."""

import os


def main() -> None:
    """Runs one command in a process of its own and ends with its exit code."""
    try:
        import signal

        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from lstm_jax import signals

        signals.claim_process()
    except KeyboardInterrupt:  # in the first hundredth of a second
        os.write(2, b"lstm_jax: stopped; nothing had to be saved\n")
        os._exit(130)
    from lstm_jax.cli.main import main

    try:
        main()
    finally:
        signals.ignore_signals()


if __name__ == "__main__":
    main()
