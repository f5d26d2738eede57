"""A TCP proxy of the test suite: it cuts connections, holds them, delays them, and swallows answers."""

import contextlib
import select
import socket
import threading
import time

CHUNK = 65_536


class Proxy:
    """Passes connections on to a server on this machine, unless they are held, refused or cut."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0  # seconds, of each piece in each direction
        self.held = False  # no byte gets through, and neither side gets an error
        self.mute = False  # what the server answers is swallowed
        self._server = port
        self._lines: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self) -> None:
        """Break every connection that there is."""
        for line in list(self._lines):
            self._close(line)

    def lead_to(self, port: int) -> None:
        """Pass new connections on to another server; those that there are stay where they are."""
        self._server = port

    def lines(self) -> int:
        """How many connections there are."""
        return len(self._lines)

    def heal(self) -> None:
        """Pass everything on. What was held or swallowed is lost, so its connections are broken."""
        broken = self.held or self.mute
        self.delay, self.held, self.mute = 0.0, False, False
        if broken:
            self.cut()

    def close(self) -> None:
        """Stop listening, and break everything."""
        self._listener.close()
        self.cut()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server), timeout=5)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = (client, server)
        self._lines.add(line)
        with contextlib.suppress(OSError, ValueError):
            self._pass_on(client, server)
        self._close(line)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            for source in select.select([client, server], [], [], 1)[0]:
                if self.held:
                    time.sleep(0.05)
                    continue
                data = source.recv(CHUNK)
                if not data:
                    return
                if self.delay:
                    time.sleep(self.delay)
                if source is client:
                    server.sendall(data)
                elif not self.mute:
                    client.sendall(data)

    def _close(self, line: tuple[socket.socket, socket.socket]) -> None:
        self._lines.discard(line)
        for end in line:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
