import type { ContentStore } from "../core/content.ts";
import type { Events } from "../core/event.ts";
import type { Metadata } from "../core/metadata.ts";
import type { Images } from "../images/images.ts";
import { createRegistryApp, type RegistryAppOptions } from "./app.ts";
import { defaultLimits, type RegistryLimits } from "./limits.ts";
import { Repositories } from "./repositories.ts";
import { Uploads } from "./uploads.ts";

export interface RegistryOptions extends RegistryAppOptions {
  readonly content: ContentStore;
  readonly images: Images;
  readonly events: Events;
  readonly metadata: Pick<Metadata, "images" | "repositories" | "barrier">;
  readonly limits?: Partial<RegistryLimits>;
}

export interface Registry extends AsyncDisposable {
  readonly fetch: (request: Request, bindings?: object) => Response | Promise<Response>;
}

/** Opens the registry of a root folder, and takes up the uploads that are under way there. */
export async function openRegistry(options: RegistryOptions): Promise<Registry> {
  const { content, images, events, onError } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const { images: names, repositories: store, barrier } = options.metadata;
  const repositories = new Repositories({ content, images, events, names, repositories: store, barrier, limits });
  const uploads = await Uploads.open({ content, repositories: store, barrier, limits, onError });
  const app = createRegistryApp({ content, repositories, uploads, limits }, options);
  return {
    fetch: (request, bindings) => app.fetch(request, bindings),
    [Symbol.asyncDispose]: () => {
      repositories[Symbol.dispose]();
      return uploads[Symbol.asyncDispose]();
    },
  };
}
