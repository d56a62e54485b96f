#!/usr/bin/env bash
# An environment of its own for each peer:
#
#     benchmarks/peers/speed/install.sh work/peers                 # all of them
#     benchmarks/peers/speed/install.sh work/peers openvino        # one
#
# Peers: transformers, openvino, growing-cache, llama-cpp. torch comes first and by its exact version,
# so that pip takes its CPU build where one is offered. llama-cpp compiles llama.cpp for this
# processor (a quarter of an hour of processor time), which takes a C++ compiler and ninja or make. PYTHON chooses the interpreter.
set -euo pipefail

folder=${1:?give a folder for the environments}
shift
peers=("$@")
((${#peers[@]})) || peers=(transformers openvino growing-cache llama-cpp)
python=${PYTHON:-python3}

torch="torch==2.13.0"
transformers="transformers==5.23.0"
for peer in "${peers[@]}"; do
  case $peer in
    transformers) groups=("$torch" "$transformers safetensors numpy") ;;
    openvino) groups=("$torch" "$transformers safetensors numpy openvino==2026.4.1 nncf==3.4.0") ;;
    growing-cache) groups=("onnxruntime==1.31.1 onnx==1.23.2 numpy") ;;
    llama-cpp) groups=("numpy gguf==0.19.0" "llama-cpp-python==0.3.36") ;;
    *) echo "$peer: no such peer; choose of transformers, openvino, growing-cache, llama-cpp" >&2; exit 2 ;;
  esac
  if [[ $peer == llama-cpp ]]; then
    # without vision models, and without AMX, whose kernels crash in this version (ggml_backend_amx_mul_mat)
    amx="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    [[ $(uname -m) == x86_64 ]] && export CFLAGS="${CFLAGS:-} $amx" CXXFLAGS="${CXXFLAGS:-} $amx"
    export CMAKE_ARGS="${CMAKE_ARGS:-} -DLLAVA_BUILD=OFF"
  fi
  "$python" -m venv "$folder/$peer"
  for group in "${groups[@]}"; do
    # shellcheck disable=SC2086  # a group is several words
    "$folder/$peer/bin/python" -m pip install --quiet --disable-pip-version-check $group
  done
  "$folder/$peer/bin/python" -m pip freeze >"$folder/$peer/installed.txt"
  echo "$peer: $(wc -l <"$folder/$peer/installed.txt") packages in $folder/$peer"
done
