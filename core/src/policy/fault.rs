//! What is wrong with a `spec`, in one word.

use crate::closed::closed_set;

closed_set! {
    /// Why a `spec` cannot be carried out. A closed set: reason of conditions, label of metrics.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Fault {
        /// The name of the release leaves no room for those of its objects.
        InvalidName,
        /// `spec.model` names no artifact: its digest or its URI is none.
        InvalidModel,
        /// `spec.rollout`, or a number of replicas, cannot be.
        InvalidRollout,
        /// `spec.route` names no route, or two.
        InvalidRoute,
        /// `spec.analysis` cannot be judged by.
        InvalidAnalysis,
        /// `spec.serving` makes no pods: its template is none, or has no such port.
        InvalidTemplate,
        /// An expression of `spec.gates` does not compile.
        InvalidGate,
        /// An object that follows from `spec` is refused: by the API server, in its own words, or because one of its name is
        /// somebody else's.
        ObjectRefused,
    }
}
