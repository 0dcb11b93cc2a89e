/** One member of a hand-made archive; every field may be as wrong as a test wants it. */
export interface Member {
  readonly path: string | Uint8Array;
  /** The type's character. Default `0`, a file. */
  readonly type?: string;
  readonly link?: string;
  readonly content?: string | Uint8Array;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  /** What the header says, where it is not the content's. */
  readonly size?: number;
  /** Records of an extended header before it. */
  readonly pax?: Readonly<Record<string, string | Uint8Array>>;
}

/** An archive of these members, with the two closing blocks. */
export function tarOf(...members: readonly Member[]): Uint8Array<ArrayBuffer> {
  return joined([...members.flatMap(blocks), new Uint8Array(1024)]);
}

/** The blocks of one member, extended header included. */
export function blocks({ pax, ...member }: Member): Uint8Array<ArrayBuffer>[] {
  const content = bytesOf(member.content ?? "");
  const parts = [header(member, content.length), content, new Uint8Array(-content.length & 511)];
  return pax === undefined ? parts : [...blocks({ path: "pax", type: "x", content: records(pax) }), ...parts];
}

function header(member: Member, length: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(512);
  const octal = (value: number, size: number) => value.toString(8).padStart(size - 1, "0");
  block.set(bytesOf(member.path).subarray(0, 100), 0);
  const directory = member.type === "5" || member.type === "1";
  block.set(bytesOf(octal(member.mode ?? (directory ? 0o755 : 0o644), 8)), 100);
  block.set(bytesOf(octal(member.uid ?? 0, 8)), 108);
  block.set(bytesOf(octal(member.gid ?? 0, 8)), 116);
  block.set(bytesOf(octal(member.size ?? length, 12)), 124);
  block.set(bytesOf(octal(member.mtime ?? 0, 12)), 136);
  block.set(bytesOf("        "), 148);
  block.set(bytesOf(member.type ?? "0"), 156);
  block.set(bytesOf(member.link ?? "").subarray(0, 100), 157);
  block.set(bytesOf("ustar\x0000"), 257);
  block.set(bytesOf(octal(member.major ?? 0, 8)), 329);
  block.set(bytesOf(octal(member.minor ?? 0, 8)), 337);
  block.set(bytesOf(octal(block.reduce((sum, byte) => sum + byte, 0), 7)), 148);
  return block;
}

function records(pax: Readonly<Record<string, string | Uint8Array>>): Uint8Array<ArrayBuffer> {
  return joined(
    Object.entries(pax).map(([key, value]) => {
      const body = joined([bytesOf(` ${key}=`), bytesOf(value), bytesOf("\n")]);
      let length = body.length + 1;
      while (String(length).length + body.length !== length) length++;
      return joined([bytesOf(String(length)), body]);
    }),
  );
}

function bytesOf(value: string | Uint8Array): Uint8Array<ArrayBuffer> {
  return typeof value === "string" ? new TextEncoder().encode(value) : new Uint8Array(value);
}

export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
