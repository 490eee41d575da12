//! Closed sets of words, as labels and reasons are.

/// Declares an enum whose variants are words. What is said of a variant in its doc comment is what the pages of
/// `docs/reference/` say of the word: without a sentence it does not compile, and it is on the page as soon as it is here.
macro_rules! closed_set {
    (
        $(#[$of_set:meta])*
        pub enum $Set:ident {
            $( $(#[doc = $meaning:literal])+ $Word:ident, )+
        }
    ) => {
        $(#[$of_set])*
        pub enum $Set {
            $( $(#[doc = $meaning])+ $Word, )+
        }

        impl $Set {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$( Self::$Word, )+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$Word => stringify!($Word), )+
                }
            }

            /// What it means, for the pages of reference.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $( Self::$Word => concat!($( $meaning, )+).trim_ascii(), )+
                }
            }
        }
    };
}

pub(crate) use closed_set;
