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

# npm stays in this stage: a package brings the Node that runs the daemon, of the version that it is developed with.
FROM ${BASE} AS packages
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates npm
WORKDIR /opt/mayfly
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --no-audit --no-fund \
  && npm install --prefix /opt/node --no-audit --no-fund "node@$(npm pkg get devDependencies.node | tr -d '"')"

FROM ${BASE}
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/mayfly
COPY --from=packages /opt/node/node_modules/node/bin/node /usr/local/bin/node
COPY --from=packages /opt/mayfly/node_modules node_modules
COPY package.json LICENSE README.md ./
COPY src src
COPY runtimes runtimes
COPY snapshotters snapshotters

# Reached from outside the container: name the hosts it answers to with MAYFLY_ALLOWED_HOSTS.
ENV MAYFLY_LISTEN=0.0.0.0:8080
VOLUME /var/lib/mayfly
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "src/main.ts"]
CMD ["serve"]
