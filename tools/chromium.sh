#!/usr/bin/env bash
# A Chromium for the tests that look at pages; for CI and developers. It prints nothing where there is one already.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
[ "$(id -u)" -eq 0 ] || { echo "chromium: there is none, and only root can install it" >&2; exit 1; }
echo "chromium: installing it" >&2
apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >&2
