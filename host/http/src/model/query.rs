//! The query of a request, read into a type as its body is.
//!
//! A parameter without a value is as good as none. A list is given as often as one likes, anything else
//! once: it is not for the server to choose.

use std::str::FromStr;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::de::value::{Error as Unreadable, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::reading::{names_of, unreadable};
use super::value::Count;
use crate::error::ApiError;
use dormouse::{Cursor, SamplePlace};
use dormouse_domain::spelling::near_miss;

/// The most entries of a page, and those of one that is not asked for.
const MAX_PAGE: u64 = 200;
const DEFAULT_PAGE: u64 = 50;
/// The most characters of an unknown name that an answer repeats.
const MAX_TOLD: usize = 64;

/// Which page of something that has an order.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct PageQuery {
    /// What the page before calls `next`.
    after: Option<Count>,
    /// The same, by the name that it has for all lists.
    cursor: Option<Count>,
    /// The most entries of the page.
    limit: Option<Count>,
}

impl PageQuery {
    /// What comes before the page.
    pub(crate) fn after(&self) -> u64 {
        self.cursor.or(self.after).map_or(0, |Count(after)| after)
    }

    /// How many entries the page may have.
    pub(crate) fn limit(&self) -> usize {
        bounded(self.limit)
    }

    /// The same, where a page may have this many.
    pub(crate) fn limit_within(&self, most: u64) -> u64 {
        self.limit.map_or(most, |Count(limit)| limit.clamp(1, most))
    }
}

/// `GET /api/events`, and the events of one session
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct EventsQuery {
    /// What the page before calls `next`: the cursor of an event.
    after: Option<Count>,
    /// The same, by the name that it has for all lists.
    cursor: Option<Count>,
    /// The most entries of the page.
    limit: Option<Count>,
    /// Whether the answer is a stream that goes on with each event as it happens.
    pub(crate) follow: bool,
}

impl EventsQuery {
    /// The cursor after which the events are.
    pub(crate) fn after(&self) -> Cursor {
        Cursor(self.cursor.or(self.after).map_or(0, |Count(after)| after))
    }

    /// How many events a page may have.
    pub(crate) fn limit(&self) -> usize {
        bounded(self.limit)
    }
}

/// `GET …/metrics`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SamplesQuery {
    /// The name of a series. Default: all of them.
    pub(crate) name: Option<String>,
    /// What the page before calls `next`.
    after: Option<Count>,
    /// The same, by the name that it has for all lists.
    cursor: Option<Count>,
    /// The most samples of the page.
    limit: Option<Count>,
}

impl SamplesQuery {
    /// The place after which the samples are.
    pub(crate) fn after(&self) -> SamplePlace {
        SamplePlace(self.cursor.or(self.after).map_or(0, |Count(after)| after))
    }

    /// How many samples a page may have.
    pub(crate) fn limit(&self) -> usize {
        bounded(self.limit)
    }
}

/// `GET /api/schedules`, `GET /api/simulations` and `GET /api/experiments`: a page of a list of things that have ids.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct IdPageQuery {
    /// What the page before calls `next`.
    after: Option<String>,
    /// The same, by the name that it has for all lists.
    cursor: Option<String>,
    /// How many the page has at most: 1 to 200. Default: 50.
    limit: Option<Count>,
}

impl IdPageQuery {
    /// What the page begins behind.
    ///
    /// # Errors
    /// It is no id.
    pub(crate) fn after<T: FromStr>(&self) -> Result<Option<T>, ApiError> {
        let after = self.cursor.as_ref().or(self.after.as_ref());
        let invalid =
            |_| ApiError::invalid_field("cursor", "must be the `next` of a page, as it was given");
        after.map(|id| id.parse().map_err(invalid)).transpose()
    }

    /// How many things the page may have.
    pub(crate) fn limit(&self) -> usize {
        bounded(self.limit)
    }
}

/// `GET …/snapshots`, and `…/turns/{turn}`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct CommitsQuery {
    /// Whether each is told with its commit. What commits are is worked out where that was not done since the start of the
    /// host, which reads all files of the history.
    pub(crate) commits: bool,
}

/// `GET /git/{id}.git/info/refs`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ServiceQuery {
    /// `git-upload-pack`.
    pub(crate) service: Option<String>,
}

/// Whose things are meant, of those that a caller may see.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct OwnerQuery {
    /// A principal: any, where an admin asks. Default: the caller; for an admin, at sessions, agents and events, all
    /// of them.
    pub(crate) owner: Option<String>,
}

/// `POST /api/agents`
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct UploadQuery {
    #[schemars(required)]
    pub(crate) name: Option<String>,
    #[schemars(required)]
    pub(crate) version: Option<String>,
}

/// The entries of a page: never none.
pub(super) fn bounded(limit: Option<Count>) -> usize {
    bounded_or(limit, DEFAULT_PAGE)
}

/// The same where one that is not asked for has this many.
pub(super) fn bounded_or(limit: Option<Count>, default: u64) -> usize {
    let limit = limit.map_or(default, |Count(limit)| limit).clamp(1, MAX_PAGE);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Read a whole query, given as its names and values.
///
/// # Errors
/// A parameter has a value that its type does not take, or several; or the name of another is a near miss
/// of one that is known. Other unknown ones are ignored.
pub(crate) fn read<T: DeserializeOwned>(pairs: Vec<(String, String)>) -> Result<T, ApiError> {
    read_and_judge(pairs, |_, _| Ok(()))
}

/// The same where an unknown parameter is refused: a filter that is ignored would answer with everything.
///
/// # Errors
/// As [`read`]; and for each other name that is not known.
pub(crate) fn read_filters<T: DeserializeOwned>(
    pairs: Vec<(String, String)>,
) -> Result<T, ApiError> {
    read_and_judge(pairs, |name, known| {
        let known: Vec<&str> = known.to_vec();
        let name: String = name.chars().take(MAX_TOLD).collect();
        let error = format!("there is no filter {name}; there are: {}", known.join(", "));
        let unknown = ApiError::new(StatusCode::BAD_REQUEST, "unknown_filter", error);
        Err(unknown.with("field", name).with("known", known))
    })
}

fn read_and_judge<T: DeserializeOwned>(
    mut pairs: Vec<(String, String)>,
    unknown: impl FnOnce(&str, &[&'static str]) -> Result<(), ApiError>,
) -> Result<T, ApiError> {
    pairs.retain(|(_, value)| !value.is_empty());
    let names = names_of::<T>();
    let values = |name: &str| -> Vec<String> {
        let named = pairs.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.clone()).collect()
    };
    let given = names.iter().map(|name| (*name, Values(values(name))));
    let given = MapDeserializer::new(given.filter(|(_, values)| !values.0.is_empty()));
    let query = serde_path_to_error::deserialize(given)
        .map_err(|error| unreadable("", error.path(), error.inner()))?;
    let mut others = pairs.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let first = others.clone().next();
    let missed = others.find_map(|(name, _)| Some((name, near_miss(name, names.iter().copied())?)));
    match (missed, first) {
        (Some((name, meant)), _) => Err(ApiError::unknown_parameter(name, meant)),
        (None, Some((name, _))) => unknown(name, names).map(|()| query),
        (None, None) => Ok(query),
    }
}

/// The values that a query has for one parameter: one at least.
struct Values(Vec<String>);

impl Values {
    fn one(self) -> Result<String, Unreadable> {
        let mut values = self.0.into_iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(Unreadable::custom("is given more than once in the query")),
        }
    }
}

impl<'de> IntoDeserializer<'de> for Values {
    type Deserializer = Values;

    fn into_deserializer(self) -> Values {
        self
    }
}

impl<'de> Deserializer<'de> for Values {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_string(self.one()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let text = self.one()?;
        match text.parse() {
            Ok(number) => visitor.visit_u64(number),
            Err(_) => Err(Unreadable::invalid_type(Unexpected::Str(&text), &visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let text = self.one()?;
        match text.parse() {
            Ok(flag) => visitor.visit_bool(flag),
            Err(_) => Err(Unreadable::invalid_type(Unexpected::Str(&text), &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter()))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::listing::SessionsQuery;
    use axum::extract::Query;

    fn pairs(query: &str) -> Vec<(String, String)> {
        let uri = format!("http://localhost/?{query}").parse().unwrap();
        let Query(pairs) = Query::try_from_uri(&uri).unwrap();
        pairs
    }

    fn query<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
        read(pairs(query))
    }

    fn filters(query: &str) -> Result<SessionsQuery, ApiError> {
        read_filters(pairs(query))
    }

    #[test]
    fn parameters_that_are_no_counts_are_named() {
        for text in ["-1", "1.0", "x"] {
            let error = filters(&format!("page={text}")).unwrap_err();
            let body = error.body("r");
            assert_eq!(body.more["field"], "page");
            assert_eq!(body.error, "page must be an integer, 0 or more");
        }
    }

    #[test]
    fn a_page_has_a_bounded_size() {
        let limit = |text: &str| query::<PageQuery>(&format!("limit={text}")).unwrap().limit();
        assert_eq!((limit("0"), limit(""), limit("7"), limit("1000")), (1, 50, 7, 200));
    }

    #[test]
    fn one_value_is_given_once_and_a_list_as_often_as_one_likes() {
        let error = filters("pageSize=3&pageSize=3&tag=a").unwrap_err();
        assert_eq!(error.code(), "invalid_field");
        assert_eq!(error.body("r").more["field"], "pageSize");
        let found = filters("tag=a,b&tags=c,%20d&tag=&tag=e&page=&page=7").unwrap();
        assert_eq!(
            (found.page(), found.all_tags()),
            (7, ["c", "d", "a,b", "e"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn a_flag_is_true_or_false() {
        let follow = |text: &str| query::<EventsQuery>(text).map(|query| query.follow);
        assert!(!follow("after=3").unwrap() && !follow("follow=").unwrap());
        assert!(follow("follow=true").unwrap() && !follow("follow=false").unwrap());
        for text in ["follow=1", "follow=True", "follow=yes"] {
            assert_eq!(follow(text).unwrap_err().body("r").more["field"], "follow", "{text}");
        }
    }

    #[test]
    fn words_that_are_not_known_have_codes_of_their_own() {
        for (name, code) in [("status", "invalid_status"), ("pattern", "invalid_pattern")] {
            let error = filters(&format!("{name}=x")).unwrap_err();
            assert_eq!(error.code(), code);
        }
    }

    #[test]
    fn a_near_miss_of_a_parameter_is_refused_and_other_unknown_ones_are_ignored() {
        for (text, name) in [("pagesize=3", "pagesize"), ("page=1&page_size=3", "page_size")] {
            let error = filters(text).unwrap_err();
            let body = error.body("r");
            assert_eq!(error.code(), "unknown_field");
            assert_eq!(body.error, format!("there is no parameter {name}: did you mean pageSize?"));
            assert_eq!(
                (&body.more["field"], &body.more["meant"]),
                (&name.into(), &"pageSize".into())
            );
        }
        for text in ["", "after=1&limit=3", "_=123&utm=x", "Limit="] {
            assert!(query::<PageQuery>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_unknown_filter_is_answered_with_those_that_there_are() {
        let error = filters("page=1&utm=x").unwrap_err();
        assert_eq!(error.code(), "unknown_filter");
        let body = error.body("r");
        assert_eq!(body.more["field"], "utm");
        let known = body.more["known"].as_array().unwrap();
        assert!(known.contains(&"threadKey".into()) && body.error.contains("createdAfter"));
        assert!(filters("utm=").is_ok(), "a parameter without a value is as good as none");
    }
}
