/**
 * A file name or path as the kernel has it: one character for each byte, U+0000 to U+00FF. Names on Linux are bytes and
 * need not be UTF-8; this form keeps them all and still compares, splits and hashes as a string.
 */
export type ByteString = string & { readonly byteString?: never };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Takes a name from text, in UTF-8. */
export function fromText(text: string): ByteString {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return fromBytes(encoder.encode(text));
  }
  return text;
}

/** Takes a name from bytes, none of which is NUL. */
export function fromBytes(bytes: Uint8Array): ByteString {
  // Spreading a long array overflows the stack; names are short, but an attribute or a pax record is not.
  if (bytes.length <= 4096) return String.fromCharCode(...bytes);
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

/** The bytes of a name. */
export function toBytes(name: ByteString): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(name.length);
  for (let i = 0; i < name.length; i++) bytes[i] = name.charCodeAt(i);
  return bytes;
}

/** A name as text for people and messages; what is no UTF-8 becomes U+FFFD. */
export function toText(name: ByteString): string {
  return decoder.decode(toBytes(name));
}

/** A name as an argument of a system call: the text itself where it is ASCII, else its bytes and a NUL. */
export function argument(name: ByteString): string | Uint8Array<ArrayBuffer> {
  for (let i = 0; i < name.length; i++) {
    if (name.charCodeAt(i) > 0x7f) {
      const bytes = new Uint8Array(name.length + 1);
      for (let j = 0; j < name.length; j++) bytes[j] = name.charCodeAt(j);
      return bytes;
    }
  }
  return name;
}
