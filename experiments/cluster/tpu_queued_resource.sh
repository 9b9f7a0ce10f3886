#!/usr/bin/env bash
# DISTA-Net on a spot slice of 16 TPU v5e chips, without a cluster of one's own.
#
#   PROJECT=… ZONE=us-west4-a BUCKET=… bash experiments/cluster/tpu_queued_resource.sh
#
# Waits for the slice, installs distax on its hosts and starts one process on each; they find one
# another by what Cloud TPU tells them. Start it again after a preemption: the run goes on from the
# last checkpoint in the bucket.
set -euo pipefail
name=${NAME:-distax}
common=(--project "$PROJECT" --zone "$ZONE")

if ! gcloud compute tpus queued-resources describe "$name" "${common[@]}" >/dev/null 2>&1; then
  gcloud compute tpus queued-resources create "$name" "${common[@]}" --node-id "$name" \
    --accelerator-type v5litepod-16 --runtime-version v2-alpha-tpuv5-lite --spot
fi
until [[ $(gcloud compute tpus queued-resources describe "$name" "${common[@]}" \
  --format 'value(state.state)') == ACTIVE ]]; do
  sleep 30
done

on_every_host() {
  gcloud compute tpus tpu-vm ssh "$name" "${common[@]}" --worker all --command "$1"
}
on_every_host "python3 -m venv distax && distax/bin/pip install --quiet 'jax[tpu]' 'distax[gcs]'"
on_every_host "distax/bin/distax train --distributed --auto-resume --run-dir gs://$BUCKET/dista_c3 --batch-size 1024 --steps 20000 --model.factor 3"
