import type { ContentStore } from "../core/content.ts";
import type { RegistryLimits } from "./limits.ts";
import type { Repositories } from "./repositories.ts";
import type { Uploads } from "./uploads.ts";

/** What the routes of the registry work on. */
export interface RegistryParts {
  readonly content: ContentStore;
  readonly repositories: Repositories;
  readonly uploads: Uploads;
  readonly limits: RegistryLimits;
}
