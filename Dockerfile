# Builds and runs the daemon.
#
#   docker build -t mayfly .
#   docker run --privileged --cgroupns host -v mayfly:/var/lib/mayfly -p 8080:8080 mayfly
#
# It launches containers itself, so it needs the rights for that: --privileged, or the capabilities that `mayfly doctor`
# names. Any Debian-like base will do, for example one that debootstrap made:
#
#   buildah bud --isolation chroot --build-arg BASE=localhost/debian -t mayfly .
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}

RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates npm \
  && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/mayfly
COPY package.json package-lock.json ./
# Node comes from npm too: the distribution's may be too old for TypeScript.
RUN npm install --omit=dev --no-audit --no-fund \
  && npm install --no-save --no-audit --no-fund node@24.21.0 \
  && npm cache clean --force
COPY deno.json tsconfig.json LICENSE README.md ./
COPY src src
COPY runtimes runtimes
COPY snapshotters snapshotters

ENV PATH=/opt/mayfly/node_modules/.bin:$PATH
# Reached from outside the container: name the hosts it answers to with MAYFLY_ALLOWED_HOSTS.
ENV MAYFLY_LISTEN=0.0.0.0:8080
VOLUME /var/lib/mayfly
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "src/main.ts"]
CMD ["serve"]
