// The API of a bundle: the same answers from files.
export function filesApi() {
  throw new Error("bundles are not made yet");
}
