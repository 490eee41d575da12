//! Movie ids of the platform, made from title and year.

/// The id of a film: lower case, `,` as `_`, everything outside `[a-z0-9 _.*-]` dropped, space as `+`, then `+` and
/// the year, with nothing after that `+` when the year is unknown.
pub fn movie_id(title: &str, year: Option<u16>) -> String {
    let mut id = String::with_capacity(title.len() + 5);
    for character in title.chars().flat_map(char::to_lowercase) {
        match character {
            ',' => id.push('_'),
            ' ' => id.push('+'),
            'a'..='z' | '0'..='9' | '_' | '.' | '*' | '-' => id.push(character),
            _ => {}
        }
    }
    id.push('+');
    if let Some(year) = year {
        id.push_str(&year.to_string());
    }
    id
}

/// Whether a text has the shape of a movie id: allowed characters only, at least one `+`, of a plausible length.
///
/// This is shape, not knowledge: only the catalogue knows which ids exist.
pub fn is_movie_id(text: &str) -> bool {
    /// The longest id ever seen has 109 characters.
    const LONGEST: usize = 256;
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'_' | b'.' | b'*' | b'-');
    !text.is_empty() && text.len() <= LONGEST && text.contains('+') && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_titles_give_the_ids_of_the_platform() {
        for (title, year, id) in [
            (
                "The Lord of the Rings: The Fellowship of the Ring",
                Some(2001),
                "the+lord+of+the+rings+the+fellowship+of+the+ring+2001",
            ),
            ("Amélie", Some(2001), "amlie+2001"),
            ("M*A*S*H", Some(1970), "m*a*s*h+1970"),
            (
                "20,000 Leagues Under the Sea",
                Some(1997),
                "20_000+leagues+under+the+sea+1997",
            ),
            ("À nos amours", Some(1983), "+nos+amours+1983"),
            ("Reflection", None, "reflection+"),
            ("1984", Some(1956), "1984+1956"),
            ("Mrs. Miniver", Some(1942), "mrs.+miniver+1942"),
            ("Jails, Hospitals & Hip-Hop", None, "jails_+hospitals++hip-hop+"),
            ("61*", Some(2001), "61*+2001"),
        ] {
            assert_eq!(movie_id(title, year), id);
        }
    }

    #[test]
    fn replaced_and_damaged_ids_have_no_shape() {
        for text in [
            "",
            "VWDbrYWReQKNsvs0K",
            "d ark+city+1998",
            "[\"a+1\"]",
            "emma",
            &"a+".repeat(200),
        ] {
            assert!(!is_movie_id(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_title_gives_an_id_of_the_right_shape(title in ".{0,60}", year in proptest::option::of(1800_u16..2100)) {
            prop_assert!(is_movie_id(&movie_id(&title, year)));
        }
    }
}
