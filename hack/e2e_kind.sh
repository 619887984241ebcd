#!/usr/bin/env bash
# Build the images, load them into a new kind cluster, install the chart there and run the cluster's tests and the demo.
#
# Needs docker and kind. KIND_IMAGE chooses the Kubernetes version, such as kindest/node:v1.34.0; KEEP=1 leaves the
# cluster for a look at what went wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

BIN=${BIN:-.venv/bin}
CLUSTER=${CLUSTER:-protoqueue-e2e}
TAG=e2e
STATE=$(mktemp -d)
export KUBECONFIG=$STATE/kubeconfig

for tool in docker kind; do
  command -v "$tool" > /dev/null || { echo "make e2e-kind needs $tool: install it, or run make test, which needs neither"; exit 1; }
done

finish() {
  code=$?
  if [ "$code" -ne 0 ]; then
    "$BIN/kubectl" get pods,pq,pcg -A || true
    "$BIN/kubectl" logs -n protoqueue -l app.kubernetes.io/component=operator --tail=200 || true
  fi
  if [ -z "${KEEP:-}" ]; then
    kind delete cluster --name "$CLUSTER"
    rm -rf "$STATE"
  else
    echo "the cluster stays: export KUBECONFIG=$KUBECONFIG; kind delete cluster --name $CLUSTER"
  fi
  exit "$code"
}

for target in operator worker cli; do
  docker build --target "$target" --tag "protoqueue/$target:$TAG" .
done
trap finish EXIT
kind create cluster --name "$CLUSTER" --wait 120s ${KIND_IMAGE:+--image "$KIND_IMAGE"}
for target in operator worker cli; do
  kind load docker-image --name "$CLUSTER" "protoqueue/$target:$TAG"
done

"$BIN/kubectl" create namespace protoqueue
"$BIN/kubectl" label namespace protoqueue pod-security.kubernetes.io/enforce=restricted
"$BIN/helm" upgrade --install protoqueue charts/protoqueue --namespace protoqueue --wait --timeout 5m \
  --set image.repository=protoqueue/operator,image.tag=$TAG \
  --set test.image.repository=protoqueue/cli,test.image.tag=$TAG
"$BIN/helm" test protoqueue --namespace protoqueue --logs

"$BIN/python" hack/demo_in_cluster.py --image "protoqueue/worker:$TAG" \
  --nats-url nats://protoqueue-nats.protoqueue.svc:4222
"$BIN/kubectl" delete -f examples/codeindex/manifests.yaml --timeout=60s

# The cluster's tests bring an operator of their own: they know only a kubeconfig.
"$BIN/helm" uninstall protoqueue --namespace protoqueue --wait
"$BIN/kubectl" delete crd queues.protoqueue.dev consumergroups.protoqueue.dev redrives.protoqueue.dev
PROTOQUEUE_TEST_KUBECONFIG=$KUBECONFIG "$BIN/pytest" tests/cluster tests/conformance
