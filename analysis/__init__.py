"""What came out of a sweep: metrics, comparisons, tables, figures and the report.

Pure functions on a `analysis.data.results.Results`; this package imports no other
package of the project, and importing it alone imports nothing heavy.
"""
