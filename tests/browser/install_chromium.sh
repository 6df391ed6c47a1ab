#!/bin/sh
# Debian's Chromium and its driver for the tests of the page, where they are missing and may be installed.
# Without them these tests are skipped, so this never fails.
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver) >/dev/null 2>&1 && exit 0
fi
echo "no Chromium can be installed here: the tests of the page in a browser will be skipped"
