"""The bar: there on a terminal, silent elsewhere, and never in the way of the output."""

import io
import os
import pty
import subprocess
import sys
import time

import reparam as rp

SCRIPT = "import time, reparam as rp\nfor i in rp.progress([1, 2, 3], 'epoch 1/1', lambda: 'elbo loss 7.00'):\n    time.sleep(0.3)\n    print('item', i, flush=True)\n"


def test_items_pass_unchanged_and_nothing_is_written_without_a_terminal(capsys):
    assert list(rp.progress(iter(range(5)), "counting")) == list(range(5))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_on_a_terminal_the_bar_shows_and_standard_output_stays_clean():
    """A real pseudo-terminal on standard error, a pipe on standard output."""
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=side, env=environment
    ) as process:
        os.close(side)
        shown = b""
        while True:
            try:
                piece = os.read(main, 4096)
            except OSError:  # the other side has closed
                break
            if not piece:
                break
            shown += piece
        output = process.stdout.read()
    os.close(main)
    assert output.split(b"\n")[:3] == [b"item 1", b"item 2", b"item 3"]
    assert b"epoch 1/1" in shown
    assert b"elbo loss 7.00" in shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_is_shown_has_no_control_characters_and_no_markup(monkeypatch):
    """A title that ends a terminal's sequence, as a bound of a checkpoint may be named."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    slow = (time.sleep(0.25) or item for item in (1, 2))  # the bar is drawn five times a second
    assert list(rp.progress(slow, "epoch \x1b]0;evil\x07", lambda: "elbo \x9b2J [red]x[/red] -7.00")) == [1, 2]
    shown = sys.stderr.getvalue()
    assert r"epoch \x1b]0;evil\x07" in shown
    assert r"elbo \x9b2J [red]x[/red] -7.00" in shown
    assert not {"\x07", "\x9b"} & set(shown)
