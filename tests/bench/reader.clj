;; The peer of `reader`: Clojure's own reader on the texts of the files named on standard input, one a line, up to an
;; empty line. Answers each with the count of its characters, or with `refused`. Then, for each line `all N` it reads
;; all texts N times and answers with the nanoseconds that took; for `each N`, with a line of nanoseconds, one number a
;; text, which was read N times.
(require '[clojure.edn :as edn])

(defn parse [^String text]
  (edn/read {:default tagged-literal} (java.io.PushbackReader. (java.io.StringReader. text))))

(defn nanos [n texts]
  (let [start (System/nanoTime)]
    (dotimes [_ n]
      (doseq [text texts] (parse text)))
    (- (System/nanoTime) start)))

(let [files (doall (take-while seq (repeatedly read-line)))
      texts (vec (keep (fn [file]
                         (let [text (slurp file :encoding "UTF-8")]
                           (try (parse text)
                                (println (count text))
                                text
                                (catch Exception _ (println "refused") nil))))
                       files))]
  (flush)
  (loop []
    (when-let [line (read-line)]
      (let [[what n] (.split ^String line " ")
            n (Long/parseLong n)]
        (if (= what "all")
          (println (nanos n texts))
          (println (apply str (interpose " " (mapv #(nanos n [%]) texts)))))
        (flush)
        (recur)))))
