// A server of WebSockets without any package: it sends back what it gets, text as text, and says what it is told to say.
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import process from "node:process";

function frame(code, payload) {
  const head = payload.length < 126
    ? [128 | code, payload.length]
    : [128 | code, 126, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from(head), payload]);
}

createServer((socket) => {
  let held = Buffer.alloc(0);
  let open = false;
  socket.on("error", () => {});
  socket.on("data", (part) => {
    held = Buffer.concat([held, part]);
    if (!open) {
      const end = held.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = held.subarray(0, end).toString();
      held = held.subarray(end + 4);
      const key = /^sec-websocket-key: (.*)$/im.exec(head)?.[1];
      if (key === undefined || !/^upgrade: websocket$/im.test(head) || head.startsWith("GET /refuse")) {
        return socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno\n");
      }
      const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
      const offered = /^sec-websocket-protocol: (.*)$/im.exec(head)?.[1];
      const chosen = offered === undefined ? "" : `sec-websocket-protocol: ${offered.split(",").pop().trim()}\r\n`;
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n` +
          `sec-websocket-accept: ${accept}\r\n${chosen}\r\n`,
      );
      socket.write(frame(9, Buffer.from("there?")));
      open = true;
    }
    for (;;) {
      if (held.length < 2) return;
      const code = held[0] & 15;
      let length = held[1] & 127;
      let at = 2;
      if (length === 126) [length, at] = [held.length < 4 ? Infinity : held.readUInt16BE(2), 4];
      if (held.length < at + 4 + length) return;
      const mask = held.subarray(at, at + 4);
      const payload = Buffer.from(held.subarray(at + 4, at + 4 + length)).map((byte, i) => byte ^ mask[i & 3]);
      held = held.subarray(at + 4 + length);
      const text = payload.toString();
      if (code === 8) return socket.end(frame(8, payload));
      if (code === 10 && text === "there?") socket.write(frame(1, Buffer.from("pong")));
      else if (code === 1 && text === "leave") socket.write(frame(8, Buffer.from([0x0f, 0xa1, 111, 107])));
      // No goodbye may have that code.
      else if (code === 1 && text === "rude") socket.write(frame(8, Buffer.from([0x03, 0xe7, 111, 107])));
      else if (code === 1 && text === "break") socket.destroy();
      else if (code === 1 && text === "lie") socket.write(Buffer.from([0x83, 0]));
      else if (code === 1 && text === "parts") {
        socket.write(
          Buffer.concat([Buffer.from([1, 2]), Buffer.from("he"), Buffer.from([128, 3]), Buffer.from("llo")]),
        );
      } else if (code === 1 || code === 2) socket.write(frame(code, payload));
    }
  });
}).listen(Number(process.env.PORT), "0.0.0.0");
