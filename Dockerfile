# Two images: `coordinator` (the default) and `agent` (the `rondo` command with both trainers and MNIST).
#   docker build --target coordinator -t rondo-coordinator .
#   docker build --target agent -t rondo-agent .

FROM docker.io/library/node:24-bookworm-slim AS build
WORKDIR /build
ENV TURBO_TELEMETRY_DISABLED=1 CHECKPOINT_DISABLE=1
COPY . .
# No package needs its install script for a build, so none gets to run.
RUN npm ci --ignore-scripts --no-audit --no-fund && npm run build

FROM build AS coordinator-files
RUN node tools/collect-app.mjs @rondo/coordinator /collected

FROM build AS agent-files
RUN node tools/collect-app.mjs @rondo/cli /collected onnxruntime-node onnxruntime-common

# Node alone: no package manager.
FROM docker.io/library/node:24-bookworm-slim AS runtime
RUN rm -rf /usr/local/lib/node_modules /usr/local/include /opt/yarn* \
	&& rm -f /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn /usr/local/bin/yarnpkg
ENV NODE_ENV=production
STOPSIGNAL SIGTERM

FROM runtime AS agent
COPY --from=agent-files /collected /opt/rondo
RUN ln -s /opt/rondo/apps/cli/bin/rondo.js /usr/local/bin/rondo \
	&& install -d -o node -g node -m 0700 /var/lib/rondo-agent /run/rondo
USER node
WORKDIR /var/lib/rondo-agent
VOLUME /var/lib/rondo-agent
ENTRYPOINT ["rondo"]
CMD ["agent", "--help"]

FROM runtime AS coordinator
COPY --from=coordinator-files /collected /opt/rondo
RUN ln -s /opt/rondo/apps/coordinator/bin/rondo-coordinator.js /usr/local/bin/rondo-coordinator \
	&& install -d -o node -g node -m 0700 /var/lib/rondo
ENV RONDO_DATA_DIR=/var/lib/rondo RONDO_REST_HOST=0.0.0.0 RONDO_GRPC_HOST=0.0.0.0
USER node
WORKDIR /var/lib/rondo
VOLUME /var/lib/rondo
EXPOSE 8080 9443
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["rondo-coordinator", "health"]
ENTRYPOINT ["rondo-coordinator"]
CMD ["serve"]
