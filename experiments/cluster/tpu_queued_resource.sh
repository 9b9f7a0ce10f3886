#!/usr/bin/env bash
# DISTA-Net on a spot slice of 16 TPU v5e chips, as a queued resource.
#
#   PROJECT=… ZONE=us-west4-a BUCKET=… DISTAX=… bash experiments/cluster/tpu_queued_resource.sh
#
# DISTAX is what pip installs, such as git+https://… of this repository or the URL of a wheel.
# The script waits for the slice, installs distax on its hosts and starts one process on each. The
# processes read the coordinator's address from Cloud TPU's metadata. Start the script again after a
# preemption: the run continues from the last checkpoint in the bucket.
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${BUCKET:?}" "${DISTAX:?set it to what pip installs, such as git+https://…}"
name=${NAME:-distax}
common=(--project "$PROJECT" --zone "$ZONE")

state() {
  gcloud compute tpus queued-resources describe "$name" "${common[@]}" \
    --format 'value(state.state)' 2>/dev/null || true
}
until [[ $(state) == ACTIVE ]]; do
  case $(state) in
    "") gcloud compute tpus queued-resources create "$name" "${common[@]}" --node-id "$name" \
      --accelerator-type v5litepod-16 --runtime-version v2-alpha-tpuv5-lite --spot ;;
    # A request that was preempted or refused stays, and its name cannot be used again before it is
    # deleted.
    SUSPENDED | FAILED) gcloud compute tpus queued-resources delete "$name" "${common[@]}" \
      --quiet --force ;;
  esac
  sleep 30
done

on_every_host() {
  gcloud compute tpus tpu-vm ssh "$name" "${common[@]}" --worker all --command "$1"
}
# The hosts' Python may be too old for distax.
on_every_host "python3 -m pip install --quiet --user uv && python3 -m uv venv --quiet --python 3.11 distax"
on_every_host "python3 -m uv pip install --quiet --python distax/bin/python 'jax[tpu]' 'distax[gcs] @ $DISTAX'"
on_every_host "distax/bin/distax train --distributed --auto-resume --run-dir gs://$BUCKET/dista_c3 --batch-size 1024 --steps 20000 --precision bfloat16 --model.factor 3 --model.options window 7"
