"""Headless Chromium, driven over two pipes in its DevTools protocol: JSON between null bytes.

The methods and events are those of https://chromedevtools.github.io/devtools-protocol/.
"""

import base64
import json
import os
import select
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"),
    # The pages are our own, and a container has no user namespaces and little shared memory.
    *("--no-sandbox", "--disable-dev-shm-usage"),
    # What a page asks of the network fails here; what Chromium asks for itself is turned off.
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions"),
)
SECONDS = 60  # for one answer: a busy machine starts Chromium slowly


def find_chromium():
    """Returns the path of Chromium, or None: `CHROMIUM`, or the first name in the search path."""
    return next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *NAMES))), None)


class Chromium:
    """A browser with one page."""

    def __init__(self, program, profile):
        # Chromium reads from descriptor 3 and writes to 4: here they are stdin and stdout.
        shell = ("sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 1>&2')
        self.process = subprocess.Popen(
            (*shell, program, *FLAGS, f"--user-data-dir={profile}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.number, self.unread, self.events, self.session = 0, b"", [], {}

    def begin(self):
        """Opens an empty page. Raises EOFError, BrokenPipeError or TimeoutError if it cannot."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.session = {"sessionId": session}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def end(self):
        """Ends the browser."""
        self.process.kill()
        self.process.communicate()

    def receive(self):
        """Returns the next message. Raises TimeoutError or EOFError where none comes."""
        stream = self.process.stdout.fileno()
        while b"\0" not in self.unread:
            if not select.select([stream], [], [], SECONDS)[0]:
                raise TimeoutError(f"Chromium did not answer within {SECONDS} s")
            if not (received := os.read(stream, 1 << 20)):
                raise EOFError("Chromium ended")
            self.unread += received
        message, self.unread = self.unread.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        """Returns the result of a method; events that come before it are kept in `events`."""
        self.number += 1
        request = {"id": self.number, "method": method, "params": params, **self.session}
        self.process.stdin.write(json.dumps(request).encode() + b"\0")
        self.process.stdin.flush()
        while (message := self.receive()).get("id") != self.number:
            self.events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def open(self, url):
        """Opens a page and waits until it is loaded. Forgets the events of the page before."""
        self.events = []
        self.call("Page.navigate", url=url)
        while not self.named("Page.loadEventFired"):
            self.events.append(self.receive())

    def named(self, method):
        """Returns the parameters of all events of one name since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def resize(self, width, height=900):
        """Gives the page the size of a window; one that is narrower than 700 pixels is a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme):
        """Sets the colour scheme that the reader prefers: "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def drag(self, points):
        """Draws a line through points of the window with the left button of the mouse."""
        left = {"button": "left", "clickCount": 1}
        kinds = ("mousePressed", *("mouseMoved",) * (len(points) - 1), "mouseReleased")
        for kind, (x, y) in zip(kinds, (*points, points[-1]), strict=True):
            pressed = int(kind != "mouseReleased")
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=pressed, **left)

    def picture(self, path):
        """Writes the whole page, also what one would scroll to, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))
