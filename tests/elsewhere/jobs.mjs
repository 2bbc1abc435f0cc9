// Runs pipelines of transformers.js: in Node, by node.mjs, and on a page, by page.html.

/**
 * Answer each job in order.
 *
 * @param {object} library transformers.js.
 * @param {Array} jobs each {task, folder, dtype, calls: [[input, options], ...]}; the folder is a path, on a page that of the address.
 * @param {function} read makes the input that a pipeline takes of one that is a file, {file}.
 */
export async function answers({ pipeline, env }, jobs, read) {
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.useBrowserCache = false;
  const all = [];
  for (const { task, folder, dtype, calls } of jobs) {
    const cut = folder.lastIndexOf('/');
    env.localModelPath = folder.slice(0, cut + 1);
    const pipe = await pipeline(task, folder.slice(cut + 1), { dtype });
    const own = [];
    for (const [input, options] of calls) {
      const answer = await pipe(input.file ? await read(input.file) : input, options);
      own.push(answer.tolist ? answer.tolist() : answer);
    }
    await pipe.dispose();
    all.push(own);
  }
  return all;
}
