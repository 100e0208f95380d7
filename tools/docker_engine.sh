#!/usr/bin/env bash
# A real Docker engine and a base image for machines that have neither; for CI and developers (Debian, as root).
#
#   tools/docker_engine.sh          start an engine where none answers, make the stand-in base image where the
#                                   pinned one cannot be pulled, and then print the build argument that names it
#   tools/docker_engine.sh stop     stop the engine that this script started
#
# A machine with Docker and Docker Hub gets nothing but the pull of the pinned base image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

STAND_IN=model-quantizer-base:bookworm
PID_FILE=/run/model-quantizer-dockerd.pid
LOG=/var/log/model-quantizer-dockerd.log
PULL_SECONDS=120

say() { printf 'docker_engine: %s\n' "$*" >&2; }

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

install_packages() {
  local missing=()
  for package in "$@"; do
    dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  say "installing ${missing[*]}"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

start_engine() {
  answers && return
  [ "$(id -u)" -eq 0 ] || { say "no Docker engine answers, and only root can start one"; exit 1; }
  install_packages docker.io iptables
  say "starting dockerd; its log is $LOG"
  setsid dockerd --pidfile "$PID_FILE" >"$LOG" 2>&1 </dev/null &
  for _ in $(seq 60); do
    answers && return
    sleep 1
  done
  tail -n 20 "$LOG" >&2
  say "dockerd did not come up"
  exit 1
}

# Debian's own Python 3.11 in place of the official image, which has the same Python version.
make_stand_in() {
  [ "$(id -u)" -eq 0 ] || { say "the base image cannot be pulled, and only root can make a stand-in"; exit 1; }
  install_packages debootstrap
  local folder
  folder=$(mktemp -d)
  # Now, not when the trap runs: `folder` is gone by then.
  # shellcheck disable=SC2064
  trap "rm -rf '$folder'" EXIT
  say "making $STAND_IN with debootstrap (about a minute)"
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$folder" >&2
  # A machine behind a proxy trusts more authorities than Debian ships; pip in the build needs them too.
  cp --dereference /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/*
  tar -C "$folder" -c . | docker import - "$STAND_IN" >&2
}

base_image() {
  local pinned
  pinned=$(sed -n 's/^ARG BASE=//p' Dockerfile)
  if docker image inspect "$pinned" >/dev/null 2>&1; then
    return
  fi
  if docker image inspect "$STAND_IN" >/dev/null 2>&1; then
    printf 'BASE=%s\n' "$STAND_IN"
    return
  fi
  say "pulling $pinned"
  if timeout "$PULL_SECONDS" docker pull --quiet "$pinned" >&2; then
    return
  fi
  make_stand_in
  printf 'BASE=%s\n' "$STAND_IN"
}

case "${1:-start}" in
  start) start_engine; base_image ;;
  stop) [ ! -f "$PID_FILE" ] || kill "$(cat "$PID_FILE")" ;;
  *) say "usage: tools/docker_engine.sh [start|stop]"; exit 2 ;;
esac
