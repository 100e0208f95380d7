# The CPU image: `docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/workspace" IMAGE run quantize.yml`.
# Dockerfile.cuda has the same shape; tests/unit/test_docker_files.py compares them.
# Without --network=host pip needs nothing but PyPI and PyTorch's index; see docs/how-to/containers.md for machines that
# reach neither.
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
# Where the CPU build of torch is; every file is checked against the hash in its lock file.
ARG EXTRA_INDEX=https://download.pytorch.org/whl/cpu
# For machines without the public indexes: a folder or page of wheels, and the authorities that pip trusts.
ARG PIP_FIND_LINKS=
ARG PIP_CERT=/etc/ssl/certs/ca-certificates.crt
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# PyPcre, which GPTQModel needs, comes as C source alone. It and pip's build tools stay in this stage; python3-dev
# is for a Debian base, as the official images bring Python's headers.
RUN set -eu; \
    headers=; \
    test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || headers=python3-dev; \
    apt-get update -qq; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev $headers
COPY requirements/build.txt requirements/cpu.txt requirements/gptqmodel.txt requirements/tasks.txt requirements/
# One step, so that the lock files alone decide when it is done again. The build tools come first, since
# nothing is built in an isolated environment, whose contents no hash would pin. At the end they leave with pip
# and what is of no use here: headers, tests, libraries for other devices (0.4 GB).
RUN set -eu; \
    python3 -m venv /opt/venv; \
    pip() { /opt/venv/bin/python -m pip "$@"; }; \
    locked() { pip install --quiet --require-hashes --no-build-isolation "$@"; }; \
    locked -r requirements/build.txt; \
    locked ${EXTRA_INDEX:+--extra-index-url "$EXTRA_INDEX"} -r requirements/cpu.txt; \
    locked -r requirements/tasks.txt; \
    locked --no-deps -r requirements/gptqmodel.txt; \
    pip uninstall --quiet --yes hatchling wheel pip; \
    cd /opt/venv/lib/python3*/site-packages; \
    rm -rf torch/include torch/test torch/bin/*Test torch/bin/protoc* torch/bin/test_* \
        pandas/tests pyarrow/include pyarrow/tests scipy/*/tests scipy/*/*/tests sklearn/tests sklearn/*/tests nltk/test \
        bitsandbytes/libbitsandbytes_cuda* bitsandbytes/libbitsandbytes_rocm* bitsandbytes/libbitsandbytes_xpu*
COPY entrypoint.py /opt/app/
COPY schemas /opt/app/schemas
COPY quantize_lib /opt/app/quantize_lib
# Compiled here: the root of a running container is not written to.
RUN /opt/venv/bin/python -m compileall -q /opt/app

FROM ${BASE}
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Model Quantizer" \
      org.opencontainers.image.description="Quantize Hugging Face models many ways from one manifest (CPU)" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/app /opt/app
# HOME is where any user may write, with a passwd entry or without; USER is what libraries name caches by.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    USER=quantizer \
    HF_HOME=/tmp/huggingface \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /workspace
USER 1000:1000
ENTRYPOINT ["python", "/opt/app/entrypoint.py"]
