// SPDX-License-Identifier: MIT
// How the page is built. CMake copies this folder beside its node_modules and runs Vite there; what comes out is put
// into the gateway (embed.c). Names of scripts and styles carry a hash of what is in them, so they may be cached forever.
import { readFileSync } from "node:fs";

// What is not ours goes with its licence: /dashboard/licences.txt.
const licences = {
  name: "licences",
  generateBundle() {
    const text = readFileSync(new URL("./node_modules/uplot/LICENSE", import.meta.url), "utf8");
    this.emitFile({ type: "asset", fileName: "licences.txt", source: `The charts are drawn by uPlot:\n\n${text}` });
  },
};

export default {
  base: "/dashboard/",
  plugins: [licences],
  build: {
    outDir: "dist",
    target: ["chrome100", "firefox100", "safari15"],
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
};
