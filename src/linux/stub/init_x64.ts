const hex = "bb0000001089de41be10000000e83e000000448b338d7340e8330000008d7b40e856000000448b73088d7340bf640000" +
  "004489f2b8010000000f054883f8fc74eb4885c07e2a4801c64929c675deebb5bf640000004489f231c00f054883f8fc" +
  "74ee4885c07e094801c64929c675e1c331ffb8e70000000f050f0b";

/** `init_x64.s`, assembled. A test compares the two. */
export const initX64: Uint8Array = Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
