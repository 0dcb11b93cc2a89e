import { Failure } from "../core/errors.ts";
import type { SpecUser } from "../core/spec.ts";

/** The text of an image's account files; empty where it has none. */
export interface Accounts {
  /** `/etc/passwd`. @see https://man7.org/linux/man-pages/man5/passwd.5.html */
  readonly passwd: string;
  /** `/etc/group`. @see https://man7.org/linux/man-pages/man5/group.5.html */
  readonly group: string;
}

export interface Account {
  readonly user: SpecUser;
  /** Its home folder, where the image's passwd file knows it. */
  readonly home: string | undefined;
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** Ids above this one are reserved: -1 means "leave as it is" to the kernel. */
const maxId = 0xffff_fffe;

/**
 * Finds out who a process is to be, as Docker does it: a user that the passwd file knows has its primary group, and the
 * groups that list it as a member; an explicit group takes the place of them all. A number needs no entry.
 *
 * @param text `user`, `uid`, `user:group`, `uid:gid` or a mixture; empty is root.
 * @throws invalid_argument for a name that the image does not know, or an id that cannot be.
 */
export function resolveUser(text: string, accounts: Accounts): Account {
  const [userPart = "", groupPart = "", ...rest] = text.split(":");
  if (rest.length > 0) throw refuse(text, "want user, uid, user:group or uid:gid");
  const wanted = userPart || "0";
  const entry = find(passwdEntries(accounts.passwd), wanted, ({ uid }) => uid);
  const uid = entry?.uid ?? idOf(wanted);
  if (uid === undefined) throw refuse(text, `no user ${JSON.stringify(wanted)} is in the image's /etc/passwd`);
  const groups = groupEntries(accounts.group);
  if (groupPart !== "") {
    const gid = find(groups, groupPart, (group) => group.gid)?.gid ?? idOf(groupPart);
    if (gid === undefined) throw refuse(text, `no group ${JSON.stringify(groupPart)} is in the image's /etc/group`);
    return { user: { uid, gid, additionalGids: [] }, home: entry?.home };
  }
  const gid = entry?.gid ?? 0;
  const additional = groups.filter((group) => entry !== undefined && group.members.includes(entry.name));
  const additionalGids = [...new Set(additional.map((group) => group.gid))].filter((other) => other !== gid);
  return { user: { uid, gid, additionalGids }, home: entry?.home };

  function refuse(user: string, reason: string): Failure {
    return new Failure("invalid_argument", `cannot run as user ${JSON.stringify(user)}: ${reason}`, {
      details: { field: "user" },
    });
  }
}

/** A number is always an id, as in Docker, also where somebody has it for a name. Of several entries the first counts. */
function find<Entry extends { readonly name: string }>(
  entries: readonly Entry[],
  wanted: string,
  id: (entry: Entry) => number,
): Entry | undefined {
  const number = idOf(wanted);
  return entries.find((entry) => number === undefined ? entry.name === wanted : id(entry) === number);
}

function idOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= maxId ? id : undefined;
}

function passwdEntries(text: string): readonly PasswdEntry[] {
  return fields(text).flatMap(([name, , uidText, gidText, , home]) => {
    const uid = idOf(uidText);
    const gid = idOf(gidText);
    return name && uid !== undefined && gid !== undefined ? [{ name, uid, gid, home: home ?? "" }] : [];
  });
}

function groupEntries(text: string): readonly GroupEntry[] {
  return fields(text).flatMap(([name, , gidText, members]) => {
    const gid = idOf(gidText);
    return name && gid !== undefined ? [{ name, gid, members: (members ?? "").split(",") }] : [];
  });
}

/** Lines that cannot be read are passed over: they are the image's, and concern nobody here. */
function fields(text: string): readonly (readonly string[])[] {
  return text.split("\n").filter((line) => line.includes(":") && !line.startsWith("#")).map((line) =>
    line.trim().split(":")
  );
}
