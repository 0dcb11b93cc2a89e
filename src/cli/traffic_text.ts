import { latest, revisionName, type Traffic } from "../core/revision.ts";

/** `upper-00001 90%, latest 10%` */
export function splitText({ split, tags }: Traffic): string {
  return [
    ...split.map(({ revision, percent }) => `${revision} ${percent}%`),
    ...Object.entries(tags).map(([tag, revision]) => `@${tag} ${revision}`),
  ].join(", ");
}

/** Whether all requests go to the newest revision. */
export function answersAll(record: {
  readonly name: string;
  readonly revision: number;
  readonly traffic: Traffic;
}): boolean {
  const newest = revisionName(record.name, record.revision);
  return record.traffic.split.every(({ revision }) => revision === latest || revision === newest);
}
