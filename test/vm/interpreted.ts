/**
 * Preloaded where a processor is emulated: V8 does without the compilers whose code, written while another thread runs it,
 * an emulated processor now and then runs half old and half new (SIGTRAP, SIGSEGV). WebAssembly, which `fetch` needs, stays:
 * `--jitless` would take it away.
 */
import { setFlagsFromString } from "node:v8";

for (const flag of ["--no-opt", "--no-maglev", "--no-sparkplug", "--regexp-interpret-all"]) setFlagsFromString(flag);
