import { request, type RequestOptions } from "node:http";
import { asFetch, type PlainRequest } from "./as_fetch.ts";

/**
 * As `fetch` over plain http, at addresses that have been looked at. A name that is resolved once more may have others by
 * then: whoever answers for it chooses where this machine connects to, and may have waited for the look to be over (DNS
 * rebinding). Over https nobody is led elsewhere: what is there has no certificate of that name.
 */
export function checkedFetch(url: URL, addresses: readonly string[], init: PlainRequest): Promise<Response> {
  const all = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  const lookup: RequestOptions["lookup"] = (hostname, options, found) => {
    const [first] = all;
    if (first === undefined) {
      found(Object.assign(new Error(`${hostname} has no address`), { code: "ENOTFOUND" }), "", 0);
    } else if (options.all) found(null, all);
    else found(null, first.address, first.family);
  };
  // No connection that another registry's requests have left open, to wherever.
  return asFetch(request, url, { lookup, agent: false }, init);
}
